"""The summary of a test run counts by part and names what passed only at a second try."""

from __future__ import annotations

from pathlib import Path

from tools.test_summary import summary

FIRST = """<testsuites><testsuite>
<testcase classname="tests.unit.common.test_a" name="test_one" time="0.5"/>
<testcase classname="tests.conformance.test_b" name="test_two[local-web_single]" time="2.0"/>
<testcase classname="tests.conformance.test_b" name="test_two[local-serial]" time="7.0"><failure/></testcase>
<testcase classname="tests.drills.serial.test_c" name="test_three" time="3.0"><error/></testcase>
<testcase classname="tests.drills.serial.test_c" name="test_four[x-compose]" time="0"><skipped/></testcase>
</testsuite></testsuites>"""
AGAIN = """<testsuites><testsuite>
<testcase classname="tests.conformance.test_b" name="test_two[local-serial]" time="1.0"/>
<testcase classname="tests.drills.serial.test_c" name="test_three" time="3.0"><failure/></testcase>
</testsuite></testsuites>"""


def test_it_counts_by_part_and_names_what_needed_a_second_try(tmp_path: Path) -> None:
    reports = {"local.xml": FIRST, "local.again.xml": AGAIN}
    for name, text in reports.items():
        (tmp_path / name).write_text(text)
    lines = summary([tmp_path / name for name in reports])
    rows = {tuple(line.split()) for line in lines}
    assert ("conformance,", "local", "2", "9") in rows
    assert ("drills,", "compose", "0", "0") in rows
    assert ("drills,", "local", "1", "3") in rows
    assert ("all", "4", "12") in rows
    assert lines[lines.index("passed only at a second try: 1") + 1].strip() == (
        "tests/conformance/test_b.py::test_two[local-serial]"
    )
    assert lines[-2:] == ["failed: 1", "  tests/drills/serial/test_c.py::test_three"]
    assert "7.0 s" in next(line for line in lines if "::" in line)
