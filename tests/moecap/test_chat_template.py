"""Chat templates, against transformers' own rendering, and what a checkpoint may say wrong."""

import json
import re

import pytest

from moecap.chat_template import ChatTemplate
from moecap.errors import BadInputError
from moecap.models import embedded
from moecap.tokenizer import Tokenizer

TALK = (("user", "What is 2 + 2?\n"), ("assistant", "4"), ("user", 'And "3 + 3" é <b>?'))

LOOPS = """{%- for message in messages %}
    {%- if message['role'] == 'system' %}{% continue %}{% endif %}
    {{- bos_token if loop.first else '' }}[{{ message['role'] | upper }}] {{ message['content'] | trim | tojson }}
{% endfor %}
{%- if add_generation_prompt %}[MODEL]{% endif %}{{ strftime_now('%Y')[:2] }}"""


RARER = """{%- if tools is not none %}[TOOLS {{ tools }}]{% endif %}{% if documents is none %}[NO DOCUMENTS]{% endif %}
{%- for message in messages %}
    {%- set said = message.content %}
    {%- if message.role == 'assistant' %}
        {%- generation %}{% set said = 'it' %}{{ said }}={{ message.content }}{% endgeneration %}
    {%- endif %}
    {{- said | tojson(ensure_ascii=False) }}{{ said | tojson(ensure_ascii=True) }}
    {{- {'b': said, 'a': 1} | tojson(separators=(',', ':'), sort_keys=True) }}
{%- endfor %}"""


@pytest.mark.engine
@pytest.mark.parametrize("own", [None, LOOPS, RARER])
def test_a_conversation_is_rendered_as_transformers_renders_it(own, tmp_path):
    from transformers import PreTrainedTokenizerFast

    folder = embedded.ensure()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    template = settings["chat_template"] if own is None else own
    library = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token="<|im_start|>")
    told = [{"role": role, "content": content} for role, content in TALK]
    expected = library.apply_chat_template(told, chat_template=template, tokenize=False, add_generation_prompt=True)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.chat(TALK) == expected
    ids = library.apply_chat_template(told, chat_template=template, add_generation_prompt=True, return_dict=False)
    assert tokenizer.encode(tokenizer.chat(TALK)) == tuple(ids)


def test_a_template_that_dates_its_prompts_is_told_the_same_day_always(tmp_path):
    from tokenizers import Tokenizer as Made
    from tokenizers import models

    Made(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    template = tmp_path / "chat_template.jinja"
    for source, told, date in (
        ("{{ strftime_now('%d %B %Y %H:%M') }}", "01 January 2025 00:00", "2025-01-01"),
        ("{{ messages[0].content }}", TALK[0][1], None),
    ):
        template.write_text(source)
        tokenizer = Tokenizer(tmp_path)
        assert (tokenizer.chat(TALK), tokenizer.chat_date) == (told, date)


def test_the_template_is_the_file_of_its_own_the_default_of_several_or_that_of_the_configuration(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    assert ChatTemplate.read(tmp_path) is None
    config.write_text(json.dumps({"chat_template": "one", "bos_token": {"content": "<s>"}}))
    assert ChatTemplate.read(tmp_path).render(TALK) == "one"
    several = [{"name": "tools", "template": "two"}, {"name": "default", "template": "{{ bos_token }}three"}]
    config.write_text(json.dumps({"chat_template": several, "bos_token": {"content": "<s>"}}))
    assert ChatTemplate.read(tmp_path).render(TALK) == "<s>three"
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].role }}")
    assert ChatTemplate.read(tmp_path).render(TALK) == "user"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for %}", "is not Jinja"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.append(1) }}", "cannot be used"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "cannot be used"),
        ("{{ 1 + messages }}", "cannot be used"),
        ("{{ 1 / 0 }}", "cannot be used"),
        ("{{ range(1000000000) }}", "cannot be used"),
        ("{{ '%(x)s' | format(**{}) }}", "cannot be used"),
    ],
)
def test_a_template_that_is_wrong_refuses_or_breaks_out_of_its_box_is_refused_in_one_line(source, problem):
    with pytest.raises(BadInputError, match=problem) as caught:
        ChatTemplate(source, {}).render(TALK)
    assert "\n" not in str(caught.value)
    assert "chat=false" in str(caught.value)


FILLS = """'%99999d' % 1|'%*d' % (99999, 1)|'%.*f' % (99999, 1)|'%(a)099999d' % {'a': 1}|'%99999d' | format(1)
'{:99999}'.format(1)|'{:{}}'.format(1, 99999)|'{a:>99999}'.format_map({'a': 1})|'a'.ljust(99999)|'a'['zfill'](99999)
'a' | attr('rjust')(99999)|'\t'.expandtabs(99999)|'a' | center(99999)|[1] | batch(99999, 1) | list
[1] | slice(99999) | list|lipsum(n=99999)|[1] | tojson(indent=99999)"""


@pytest.mark.parametrize("fills", [one for line in FILLS.split("\n") for one in re.split(r"(?<! )\|", line)])
def test_a_template_that_fills_texts_and_lists_with_nothing_is_refused(fills):
    with pytest.raises(BadInputError, match=r"chat=false"):
        ChatTemplate(f"{{{{ {fills} }}}}", {}).render(TALK)


def test_a_template_may_give_its_texts_fields():
    source = """{{ '%s is %5.2f%%12345' % ('a', 12.5) }}, {{ 7 % 2 }}, {{ '%04d' | format(12345) }},
{{- '{{"name": {}, "year": {:>6}}}'.format('b', 2025) }}, {{ {'a': 1} | tojson(indent=4) }}"""
    assert ChatTemplate(source, {}).render(TALK) == (
        'a is 12.50%12345, 1, 12345,{"name": b, "year":   2025}, {\n    "a": 1\n}'
    )


def test_a_model_without_a_template_cannot_chat(tmp_path):
    from tokenizers import Tokenizer as Made
    from tokenizers import models

    Made(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BadInputError, match="has no chat template; take --task-arg chat=false"):
        Tokenizer(tmp_path).chat(TALK)


@pytest.mark.parametrize(("single", "expected"), [("$A", (0, 1)), ("<s> $A", (2, 0, 1)), ("<s> $A </s>", (2, 0, 1))])
def test_a_prompt_begins_as_the_tokenizer_begins_a_text_and_has_no_end(single, expected, tmp_path):
    from tokenizers import Tokenizer as Made
    from tokenizers import models, processors

    made = Made(models.BPE({"a": 0, "b": 1, "<s>": 2, "</s>": 3}, []))
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 2), ("</s>", 3)])
    made.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path).encode_prompt("ab") == expected
    assert Tokenizer(tmp_path).encode("ab") == (0, 1)
