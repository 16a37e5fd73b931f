"""Answers that mislead a careless reader, each with what a careful human would take it to say."""

from fractions import Fraction

import pytest

from moecap.tasks.answers.letter import stated_letter
from moecap.tasks.answers.mathematics import are_equal, stated_expression
from moecap.tasks.answers.number import stated_number
from moecap.tasks.answers.thinking import without_thinking

NUMBERS = [
    ("The answer is 3.5", "3.5"),
    ("The answer is 3.5.", "3.5"),
    ("The answer is 3.5. I hope that helps, and 2 thanks!", "3.5"),
    ("She pays $1,234.50 in all.", "1234.5"),
    ("She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18", "18"),
    ("#### 42\n", "42"),
    ("#### $1,000", "1000"),
    ("#### -7", "-7"),
    ("#### Step 3: multiply\n6 * 7 = 42\nThe answer is 42.", "42"),
    ("#### 1. Find the eggs\n16 - 3 - 4 = 9\n#### 2. Sell them\n9 * 2 = 18 dollars", "18"),
    ("First 5, then 6, so \\boxed{11}, which is more than 10.", "11"),
    ("\\boxed{\\frac{3}{4}}", "3/4"),
    ("\\boxed{-\\frac12}", "-1/2"),
    ("\\boxed{1{,}500}", "1500"),
    ("\\boxed{\\$18.00}", "18"),
    ("\\boxed{x = 5}", "5"),
    ("**Answer:** 42 apples", "42"),
    ("Answer: There are 15 trees. They plant 6 more. So 21 trees in all.", "21"),
    ("The final answer is: **\\$70,000**", "70000"),
    ("The answer is 12 + 30 = 42.", "42"),
    ("The answer is 10, since each of the 2 boxes costs 3 + 2 = 5.", "10"),
    ("The answer is not 5 but 7.", "7"),
    ("The answer is 18 dollars. Wait, I forgot one egg. The answer is 20 dollars.", "20"),
    ("The answer is\n\n42", "42"),
    ("The answer, in dollars, is 64.", "64"),
    ("The answer to question 3 is 12.", "12"),
    ("The area is 42 m^2", "42"),
    ("The area is 42 m\u00b2.", "42"),
    ("It needs 10^3 grams.", "1000"),
    ("about 1.5 \u00d7 10^3 people", "1500"),
    ("1.5e3", "1500"),
    ("It weighs 2 1/2 pounds", "5/2"),
    ("It weighs 2\u00bd pounds", "5/2"),
    ("3/4 of them", "3/4"),
    ("10-5=5", "5"),
    ("x = -5", "-5"),
    ("The temperature is \u22125 degrees", "-5"),
    ("A loss of -$20", "-20"),
    ("\uff14\uff12", "42"),
    ("CO2 falls by 30 percent, H2O rises", "30"),
    ("1\u202f000\u202f000 people", "1000000"),
    ("<think>Is it 5? No, 6.</think>It is 7.", "7"),
    ("<think>Is it 5? The answer is 6", None),
    ("so the answer is 5</think>\n\nIt is 8.", "8"),
    ("It is 8. <think>Or perhaps 9?", "8"),
    ("<think>a <think>b</think> 3 </think> 4", "4"),
    ("<THINK>5</THINK>6", "6"),
    (
        "<|channel|>analysis<|message|>Is it 5?<|end|><|start|>assistant<|channel|>final<|message|>It is 6.<|return|>",
        "6",
    ),
    ("I do not know.", None),
    ("", None),
    ("1/0", None),
    ("9" * 5000, None),
]

LETTERS = [
    ("A better approach: rule out the others first, which leaves choice D", "D"),
    ("A dog is an animal, so I choose C.", "C"),
    ("The answer is (B).", "B"),
    ("The answer is **C**, because A ignores friction.", "C"),
    ("the answer is a", "A"),
    ("The answer is A because the others are wrong.", "A"),
    ("The answer is a function of x, so it must be B", "B"),
    ("Answer: A better way to see it is by symmetry. Hence option D.", "D"),
    ("D", "D"),
    (" d.", "D"),
    ("(C) Paris", "C"),
    ("B) 4\nsince 2 + 2 = 4", "B"),
    ("A) 3\nB) 4\nC) 5\nD) 6\nThe correct answer is C", "C"),
    ("A) 3\nB) 4\nC) 5\nD) 6", None),
    ("Option A is tempting but incorrect. Option C is right.", "C"),
    ("A is incorrect, B is incorrect and D is incorrect, so C is correct.", "C"),
    ("The answer is not A. The answer is B.", "B"),
    ("The answer is B, although option C would be simpler.", "B"),
    ("Both A and C are possible.", None),
    ("The answer is A and C.", None),
    ("\\boxed{D}", "D"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("<think>It is A. Or is it B?</think>C", "C"),
    ("<think>The answer is B", None),
    ("I think, therefore I am.", None),
    ("I'd go with D here", "D"),
    ("The answer is: \n\n**B**", "B"),
    ("The best answer is option (c)", "C"),
    ("Vitamin C deficiency causes it, so the answer is A.", "A"),
    ("C is the correct answer.", "C"),
    ("The answer is E.", None),  # there are four choices
    ("It depends.", None),
    ("The answer is Rome.", "B"),
    ("(A) Paris (B) Rome (C) Madrid (D) Tokyo", None),
    ("A. Paris\nB. Rome\nC. Madrid\nD. Tokyo", None),
    ("A) Paris, B) Rome, C) Madrid, D) Tokyo. I would say (C).", "C"),
    ("(A) Paris, since (B) Rome and (C) Madrid and (D) Tokyo are wrong", "A"),
]

EXPRESSIONS = [
    ("Thus \\boxed{\\frac{3}{4}}.", "0.75", True),
    ("Thus \\boxed{0.75}.", "\\frac{3}{4}", True),
    ("so \\boxed{\\text{(3, }\\frac{\\pi}{2})}", "(3,\\frac{\\pi}{2})", True),
    ("The answer is $\\dfrac{14}{3}$.", "\\frac{14}{3}", True),
    ("we get \\boxed{2\\sqrt2}", "\\sqrt{8}", True),
    ("we get $x^2 = 9$ so $x = \\boxed{3}$ and not \\boxed", "3", True),
    ("\\boxed{(x+1)^2}", "x^2+2x+1", True),
    ("\\boxed{x=5}", "5", True),
    ("\\boxed{5\\text{ cm}}", "5", True),
    ("The answer is 5 pi.", "5", False),
    ("The answer is 5 million.", "5", False),
    ("The answer is 5 square inches.", "5", True),
    ("The answer is " + "1" * 60 + "^99.", "1", False),
    ("The answer is 2^{99}.", "633825300114114700748351602688", True),
    ("The answer is 3/4 cups.", "\\frac34", True),
    ("\\boxed{50\\%}", "50", True),
    ("\\boxed{90^\\circ}", "90", True),
    ("\\boxed{1,000}", "1000", True),
    ("\\boxed{\\text{Even}}", "\\text{even}", True),
    ("\\boxed{\\text{seat}}", "\\text{east}", False),
    ("\\boxed{[0,1)}", "[0,1)", True),
    ("\\boxed{[0,1]}", "[0,1)", False),
    ("\\boxed{0.333}", "\\frac13", False),
    ("\\boxed{3.14}", "\\pi", False),
    ("\\boxed{-1}", "1", False),
    ("<think>\\boxed{7}</think> \\boxed{8}", "7", False),
    ("\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", True),
    ("\\boxed{" + "(" * 400 + "1" + ")" * 400 + "}", "1", False),
    ("\\boxed{\\frac{1}{0}}", "1", False),
    ("I cannot tell.", "1", False),
]


def test_the_table_has_the_sixty_answers_that_are_promised():
    assert len(NUMBERS) + len(LETTERS) + len(EXPRESSIONS) >= 60


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_the_number_is_what_a_careful_human_reads(text, number):
    assert stated_number(text) == (None if number is None else Fraction(number))


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_the_letter_is_what_a_careful_human_reads(text, letter):
    assert stated_letter(text, 4, ("Paris", "Rome", "Madrid", "Tokyo")) == letter


@pytest.mark.parametrize(("text", "gold", "equal"), EXPRESSIONS)
def test_an_expression_is_right_where_a_careful_human_says_so(text, gold, equal):
    assert are_equal(gold, stated_expression(text)) is equal


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<thinking>5</thinking> 6", "6"),
        ("[THINK]5[/THINK]6", "6"),
        ("\u25c1think\u25b75\u25c1/think\u25b76", "6"),
        ("<|channel|>analysis<|message|>5", ""),
        ("if a<think then", "if a<think then"),
        ("\n    return x\n", "\n    return x\n"),  # nothing to take away: as the model wrote it
    ],
)
def test_what_stands_in_thinking_tags_of_any_family_does_not_count(text, left):
    assert without_thinking(text) == left


LONG = {
    "statements": "the answer is " * 8_000,
    "colons": "answer: " * 14_000,
    "boxes": "\\boxed{" * 16_000,
    "blanks": "answer" + " " * 110_000 + "x",
    "brackets": "\\(" * 50_000,
    "tags": "</think>" * 14_000 + "<think>",
    "fractions": "-" + " " * 110_000 + "\\frac",
}
"""One line each; a reader whose time grows with the square of the length needs minutes for most of them."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_line_of_a_hundred_thousand_letters_is_read_in_time_that_grows_with_its_length(text):
    assert stated_number(text) is None
    assert stated_letter(text, 4) is None
    stated_expression(text)
