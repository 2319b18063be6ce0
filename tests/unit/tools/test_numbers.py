"""How a comment in a page names one measured number, and what is said when it names none."""

from __future__ import annotations

import pytest

from tools.numbers import UnknownNumber, filled, report, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0225, "0.022"),
        (0.459, "0.46"),
        (0.998, "1.00"),
        (1.349, "1.3"),
        (9.94, "9.9"),
        (9.96, "10"),
        (46.56, "47"),
        (13586.2, "13,586"),
        (0, "0"),
    ],
)
def test_a_value_has_two_significant_digits_or_is_whole(value: float, text: str) -> None:
    assert shown(value, "") == text


@pytest.mark.parametrize("before", ["?", "7 times", "1,234.5 times", "missed"])
def test_the_number_before_the_comment_is_replaced(before: str) -> None:
    ratio = next(one for one in report("parallel").parts[0].numbers if "aiohttp" in one.text)
    comment = "<!-- parallel.fan_out: aiohttp 16 -->"
    assert filled(f"It has {before}{comment} its throughput.") == (
        f"It has {shown(ratio.value.median, ' times')}{comment} its throughput."
    )


def test_a_comment_may_ask_for_more_than_the_median() -> None:
    ratio = next(one for one in report("parallel").parts[0].numbers if "aiohttp" in one.text)
    asked = "<!-- parallel.fan_out: aiohttp 16; {} -->"
    found = {what: filled("?" + asked.format(what)).partition("<")[0] for what in ("low, plain", "target", "verdict")}
    assert found == {
        "low, plain": shown(ratio.value.low, ""),
        "target": f"{ratio.target:g} times",
        "verdict": "met" if ratio.met else "missed",
    }


def test_a_server_with_exactly_these_words_is_preferred() -> None:
    ours, whole = (filled(f"?<!-- synchronous.whole: ours{more} 1; p50 -->") for more in ("", " all in one artefact"))
    assert ours.partition("<")[0] != whole.partition("<")[0]


@pytest.mark.parametrize(
    ("comment", "told"),
    [
        ("nobody.json: throughput", "no nobody.json"),
        ("web_single.jsno: throughput", "no part 'jsno'; expected one of json"),
        ("web_single.json: throughput", "fits 4 numbers"),
        ("web_single.json: throughput hyper", "fits 0 numbers"),
        ("web_single.json: throughput ASGI 32; mean", "'mean' is no statistic"),
    ],
)
def test_a_comment_that_names_no_single_number_is_refused(comment: str, told: str) -> None:
    with pytest.raises(UnknownNumber, match=told):
        filled(f"?<!-- {comment} -->")


def test_missed_targets_are_a_table() -> None:
    missed = [one.text for part in report("web_single").parts for one in part.numbers if not one.met]
    page = filled("<!-- missed: web_single -->\nold\n<!-- end of missed -->\n")
    assert "old" not in page
    assert all(text in page for text in missed or ["All targets were met."])
