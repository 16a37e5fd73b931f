"""The page that says what the numbers are and what the board demands, all of it from the service's own data."""

from __future__ import annotations

import pytest

from moecap.publishing.margin import MARGINS
from moecap.report.cap import cap_rule
from moecap.report.section import glossary
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.pages.about import prose
from moecap_leaderboard.rules import RULES, STANDING_RULES
from moecap_leaderboard.states import TIER_TEXTS

pytestmark = pytest.mark.browser


def test_about_has_every_rule_metric_axis_tier_margin_and_term(open_page):
    page = open_page("/about")
    text = " ".join(page.inner_text("main").split())
    sentences = [rule.text for rule in RULES] + list(STANDING_RULES.values()) + list(TIER_TEXTS.values())
    sentences += [headline.text for headline in HEADLINES] + [axis.metric for axis in cap_rule().axes]
    sentences += [*glossary(), *glossary().values(), *(formula for formula, _ in prose().formulas.values())]
    sentences += [f"{name} {margin:.0%}" for name, margin in MARGINS.items()]
    assert [sentence for sentence in sentences if " ".join(sentence.split()) not in text] == []


def test_the_contents_lead_to_the_sections_of_the_page(open_page):
    page = open_page("/about")
    links = page.get_by_role("navigation", name="On this page").get_by_role("link")
    for place in range(links.count()):
        links.nth(place).click()
        target = page.locator(f"#{page.url.partition('#')[2]}")
        target.get_by_role("heading", level=2).wait_for()
        top = target.evaluate("(section) => section.getBoundingClientRect().top")
        at_the_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert 40 <= top <= 130 or at_the_end  # right under the bar of the navigation
