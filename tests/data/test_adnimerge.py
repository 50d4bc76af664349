"""Reading ADNIMERGE.csv: types, what is repaired, and every bad input with its sentence and rows."""

import logging
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visit_rows import cell, rows, write

from armed.data import adni_format as fmt
from armed.data import adnimerge
from armed.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ADNIMERGE.csv"


def problems(path, found, **how):
    """The problems told of a table, without the dashes before them; nothing is written."""
    write(path, found, **how)
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(DataError) as error:
        adnimerge.read(path)
    assert sorted(path.parent.rglob("*")) == before
    first, *lines = str(error.value).splitlines()
    assert first == f"{len(lines)} problem{'s' if len(lines) > 1 else ''} with {path}:"
    assert all(line.startswith("  - ") for line in lines)
    return [line[4:] for line in lines]


def changed(*changes):
    """The hand-made rows with cells changed: (row in the file, column, value)."""
    found = rows()
    for row, column, value in changes:
        assert column in found[row - 2]
        found[row - 2][column] = value
    return found


def test_types_and_order(path):
    found = rows()
    visits = adnimerge.read(write(path, found))
    assert list(visits) == list(adnimerge.NEEDED) and len(visits) == len(found)
    assert visits["RID"].dtype == visits["SITE"].dtype == np.int64
    assert visits["RID"].tolist() == [row["RID"] for row in found]
    assert visits["EXAMDATE"].dtype.kind == "M" and str(visits["EXAMDATE"][1].date()) == "2006-07-10"
    assert {visits[name].dtype for name in adnimerge.NUMERIC} == {np.dtype(np.float64)}
    for name in ("VISCODE", "DX", "DX_bl", *fmt.CATEGORICAL, *adnimerge.LIMITED):
        expected = [np.nan if row[name] == "" else str(row[name]) for row in found]
        pd.testing.assert_series_equal(visits[name], pd.Series(expected, name=name), check_dtype=False)
    assert visits["AGE"].isna().sum() == 1 and visits["FDG_bl"].isna().sum() == 4


def test_the_hand_made_table_is_odd_but_usable(path, caplog):
    visits, warnings = adnimerge.inspect(write(path, rows()))
    assert warnings == [
        "column SITE: 1 subject has more than one site (RID 11); the site at the earliest visit counts",
        "column CDRSB_bl: 1 subject has more than one value (RID 4); the value at the earliest visit counts",
        "column DX_bl, rows 34 and 35: no diagnosis at baseline; such a row tells of none",
    ]
    with caplog.at_level(logging.WARNING, logger="armed.data.adnimerge"):
        pd.testing.assert_frame_equal(adnimerge.read(path), visits)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {warning}" for warning in warnings]


def test_months():
    codes = pd.Series(["bl", "m03", "m06", "m24", "m108", "m180", "m6", "m006", "m00", "M06", "sc", "", np.nan, None])
    assert adnimerge.months(codes).tolist()[:6] == [0, 3, 6, 24, 108, 180]
    assert np.isnan(adnimerge.months(codes)[6:]).all()


class TestRepaired:
    @pytest.fixture
    def plain(self, path):
        return adnimerge.inspect(write(path, rows()))

    def test_byte_order_mark(self, path, plain):
        visits, warnings = adnimerge.inspect(write(path, rows(), encoding="utf-8-sig"))
        pd.testing.assert_frame_equal(visits, plain[0])
        assert warnings == ["the file starts with a byte order mark; it is left out", *plain[1]]

    @pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
    @pytest.mark.parametrize("quoting", [0, 1])
    def test_separators(self, path, plain, mark, name, quoting):
        visits, warnings = adnimerge.inspect(write(path, rows(), sep=mark, quoting=quoting))
        pd.testing.assert_frame_equal(visits, plain[0])
        assert warnings == [f"the columns are separated by {name} instead of commas; read so", *plain[1]]

    @pytest.mark.parametrize("end", ["\r\n", "\r"])
    def test_quotes_line_ends_spaces_and_empty_rows(self, path, plain, end):
        write(path, rows(), quoting=0)
        header, *body = path.read_text().splitlines()
        body[0] = body[0].replace(",bl,", ", bl ,")
        empty = "," * header.count(",")
        path.write_text(end.join([header.replace(",DX,", ", DX,"), *body, empty, ""]), newline="")
        visits, warnings = adnimerge.inspect(path)
        pd.testing.assert_frame_equal(visits, plain[0])
        assert warnings == plain[1]

    def test_na_of_r_and_whole_numbers_as_decimals(self, path, plain):
        found = [{name: "NA" if value == "" else value for name, value in row.items()} for row in rows()]
        for row in found:
            row["SITE"] = f"{row['SITE']}.0"
        pd.testing.assert_frame_equal(adnimerge.read(write(path, found)), plain[0])

    def test_a_date_may_be_missing(self, path):
        visits = adnimerge.read(write(path, changed((2, "EXAMDATE", ""), (5, "EXAMDATE", ""))))
        assert visits["EXAMDATE"].isna().sum() == 2


class TestColumns:
    def test_missing(self, path):
        found = pd.DataFrame(rows()).rename(columns={"AGE": "age", "PTGENDER": "GENDER", "CDRSB_bl": "x"})
        assert problems(path, found.drop(columns=["VISCODE", "EXAMDATE"])) == [
            "row 1: no column 'VISCODE'.",
            "row 1: no column 'EXAMDATE'.",
            "row 1: no column 'PTGENDER'. Did you mean 'GENDER'? If it is the same, rename it.",
            "row 1: no column 'AGE'. Did you mean 'age'? If it is the same, rename it.",
            "row 1: no column 'CDRSB_bl'.",  # not CDRSB, which is the value of the visit
        ]

    def test_all_in_lower_case(self, path):
        with pytest.raises(DataError, match=r"none of the 37 needed columns \(RID, .*'\"ptid\".*Is it ADNIMERGE.csv\?"):
            adnimerge.read(write(path, pd.DataFrame(rows()).rename(columns=str.lower)))

    def test_twice(self, path):
        found = pd.DataFrame(rows())
        assert problems(path, pd.concat([found, found[["DX", "RID"]], found[["DX"]]], axis=1)) == [
            "row 1: column 'RID' is there 2 times; keep one",
            "row 1: column 'DX' is there 3 times; keep one",
        ]

    def test_problems_of_other_columns_are_told_with_it(self, path):
        found = pd.DataFrame(changed((2, "DX", "NL"))).drop(columns="RID")
        told = problems(path, found)
        assert told[0] == "row 1: no column 'RID'." and "'NL'" in told[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [(3, "DX", "NL")],
            ["column DX, row 3: 'NL'; expected CN, MCI, Dementia or nothing. Did you mean 'CN'?"],
        ),
        (
            [(r, "DX", "MCI to Dementia") for r in (4, 6, 8, 9, 10)],
            [
                "column DX, rows 4, 6, 8 and 2 more: 'MCI to Dementia'; expected CN, MCI, Dementia or nothing."
                " Did you mean 'Dementia'?"
            ],
        ),
        (
            [(2, "DX_bl", "MCI")],
            ["column DX_bl, row 2: 'MCI'; expected CN, SMC, EMCI, LMCI, AD or nothing. Did you mean 'LMCI'?"],
        ),
        (
            [(2, "PTGENDER", "female"), (5, "APOE4", 3)],
            [
                "column APOE4, row 5: '3'; expected 0, 1, 2 or nothing.",
                "column PTGENDER, row 2: 'female'; expected Male, Female or nothing. Did you mean 'Female'?",
            ],
        ),
        (
            [(r, "PTMARRY", f"code {r}") for r in range(2, 8)],
            [
                *(
                    f"column PTMARRY, row {r}: 'code {r}'; expected Married, Divorced, Never married, Widowed, Unknown"
                    " or nothing."
                    for r in (2, 3, 4)
                ),
                "column PTMARRY: 3 more such values in rows 5, 6 and 7",
            ],
        ),
        (
            [(3, "VISCODE", "m6"), (4, "VISCODE", "M12"), (6, "VISCODE", "")],
            [
                "column VISCODE, row 6: the visit is missing; fill it in or leave the row out",
                "column VISCODE, row 3: 'm6'; expected bl, m03, m06, m12, and so on. Did you mean 'm06'?",
                "column VISCODE, row 4: 'M12'; expected bl, m03, m06, m12, and so on. Did you mean 'm12'?",
            ],
        ),
        (
            [(5, "RID", ""), (7, "RID", "002_S_0413"), (8, "SITE", "NA"), (9, "SITE", -1), (10, "SITE", "inf")],
            [
                "column RID, row 5: the subject is missing; fill it in or leave the row out",
                "column RID, row 7: '002_S_0413'; expected the subject's number, whole and not negative.",
                "column SITE, row 8: the site is missing; fill it in or leave the row out",
                "column SITE, row 9: '-1'; expected the site's number, whole and not negative.",
                "column SITE, row 10: 'inf'; expected the site's number, whole and not negative.",
            ],
        ),
        (
            [
                (2, "AGE", -70.5),
                (3, "AGE", "71,5"),
                (4, "MMSE_bl", "n/a"),
                (5, "MMSE_bl", "nan"),
                (6, "ICV_bl", "-inf"),
            ],
            [
                "column AGE, row 3: '71,5'; expected a number. Is it a decimal comma? Write 71.5.",
                "column AGE, row 2: '-70.5'; an age cannot be negative; expected years.",
                "column MMSE_bl, row 4: 'n/a'; expected a number.",
                "column MMSE_bl, row 5: 'nan'; expected a number.",
                "column ICV_bl, row 6: '-inf'; expected a number.",
            ],
        ),
        (
            [(2, "ABETA_bl", ">1500"), (3, "TAU_bl", "> 1300"), (4, "FDG_bl", ">1700")],
            [
                "column FDG_bl, row 4: '>1700'; expected a number.",
                "column TAU_bl, row 3: '> 1300'; expected a number or a detection limit (<80, >1300)."
                " Did you mean '>1300'?",
                "column ABETA_bl, row 2: '>1500'; expected a number or a detection limit (<200, >1700)."
                " Did you mean '>1700'?",
            ],
        ),
        (
            [(2, "EXAMDATE", "2/5/2006"), (3, "EXAMDATE", "2006-02-30"), (6, "EXAMDATE", "soon")],
            [
                f"column EXAMDATE, row {row}: '{value}'; expected a date such as 2006-03-21 (year-month-day)."
                for row, value in ((2, "2/5/2006"), (3, "2006-02-30"), (6, "soon"))
            ],
        ),
        (
            [(3, "EXAMDATE", "2005-01-10")],
            [
                "column EXAMDATE, row 3: visit m06 of RID 1 on 2005-01-10 comes before its visit bl on 2006-01-10"
                " (row 2); correct the date or the visit"
            ],
        ),
    ],
)
def test_cells(path, changes, expected):
    assert problems(path, changed(*changes)) == expected


def test_rows_are_lines_of_the_file_where_cells_hold_line_ends(path):
    found = changed((3, "PTID", "two\nlines"), (4, "DX", "x"))
    assert problems(path, found) == ["column DX, row 5: 'x'; expected CN, MCI, Dementia or nothing."]


def test_two_rows_for_one_visit(path):
    found = rows()
    found += [dict(cell(found, 1, "bl")), dict(cell(found, 3, "m18")) | {"DX": "MCI"}]
    found += [dict(found[0]), dict(cell(found, 7, "m12")), dict(cell(found, 8, "m24")), dict(cell(found, 9, "m24"))]
    assert problems(path, found) == [
        "rows 2, 41 and 43: more than one row for visit bl of RID 1; keep one",
        "rows 10 and 42: more than one row for visit m18 of RID 3; keep one",
        "rows 22 and 44: more than one row for visit m12 of RID 7; keep one",
        "2 more visits have more than one row",
    ]


def test_many_dates_out_of_order(path):
    told = problems(path, changed(*((r, "EXAMDATE", "2000-01-01") for r in (3, 8, 10, 13, 20))))
    assert len(told) == 4
    assert told[3] == "column EXAMDATE: 2 more dates out of order in rows 13 and 20"


def test_order_is_that_of_months_not_of_text_or_file(path):
    found = [
        cell(rows(), 2, "bl") | {"VISCODE": visit, "EXAMDATE": date}
        for visit, date in (
            ("m108", "2015-01-01"),
            ("bl", "2006-01-01"),
            ("m24", "2008-01-01"),
            ("m03", "2006-04-01"),
            ("m06", ""),
        )
    ]
    assert len(adnimerge.read(write(path, found))) == 5


def test_all_problems_in_one_message(path):
    changes = [
        (2, "DX", "NL"),
        (3, "SITE", ""),
        (4, "AGE", -1),
        (5, "EXAMDATE", "x"),
        (6, "TAU_bl", ">1"),
        (9, "RID", ""),
    ]
    found = changed(*changes)
    told = problems(path, pd.DataFrame([*found, found[10]]).drop(columns="ICV_bl"))
    for words in (
        "'NL'",
        "ICV_bl",
        "the site is missing",
        "'-1'",
        "'x'",
        "'>1'",
        "the subject is missing",
        "visit bl of",
    ):
        assert sum(words in line for line in told) == 1, words
    assert len(told) == 8


class TestNoTable:
    def test_no_file(self, path):
        with pytest.raises(DataError, match=r"There is no file .*ADNIMERGE.csv; expected ADNIMERGE.csv"):
            adnimerge.read(path)
        with pytest.raises(DataError, match="There is no file"):
            adnimerge.read(path.parent)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty; expected ADNIMERGE.csv, a table of visits with a header"),
            (b" \n\r\n", "is empty"),
            (b"\xef\xbb\xbf", "none of the 37 needed columns"),
            (b"PK\x03\x04\x14\0\0", "is no CSV: it holds binary data or UTF-16 text .* Export it as CSV"),
            ("RID,SITE\n1,2\n".encode("utf-16"), "binary data or UTF-16 text"),
            (b"RID,SITE\n1,2\n1,\xe9\n", "is no UTF-8 text: byte 0xe9 in row 3"),
            (
                b"<!DOCTYPE html>\n<p>Log in</p>\n",
                r"none of the 37 needed columns.*'<!DOCTYPE html>'. Is it ADNIMERGE.csv\?",
            ),
            (b'RID,SITE\n1,2\n1,"2\n', "is no CSV from row 3 on: unexpected end of data"),
        ],
    )
    def test_content(self, path, content, message):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            adnimerge.read(path)

    def test_header_alone(self, path):
        told = problems(path, pd.DataFrame(columns=adnimerge.NEEDED))
        assert told == ["there is a header, but no visit below it; download the file again"]

    def test_rows_of_another_length(self, path):
        write(path, rows(), quoting=0)
        lines = path.read_text().splitlines()
        n = len(lines[0].split(","))
        lines[3] += ",1"
        lines[6] = lines[6].rsplit(",", 3)[0]
        lines[7] = ""  # rows below keep their numbers
        lines[8] = lines[8].replace(",MCI,", ",mci,")
        path.write_text("\n".join(lines))
        with pytest.raises(DataError) as error:
            adnimerge.read(path)
        told = str(error.value).splitlines()[1:]
        assert told[0] == (
            f"  - rows 4 and 7: expected {n} cells as in the header, found {n - 3} and {n + 1}; a separator inside a cell "
            "needs quotes around the cell"
        )
        assert told[1].startswith("  - column DX, row 9: 'mci'") and len(told) == 2


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(2, 40), st.sampled_from(adnimerge.NEEDED), st.text(max_size=6)), min_size=1, max_size=4
    )
)
def test_any_text_in_any_cell_is_read_or_told_with_its_row(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("raw") / "ADNIMERGE.csv"
    write(path, changed(*changes))
    try:
        visits = adnimerge.read(path)
    except DataError as error:
        assert "row" in str(error) or "no CSV" in str(error)
    else:
        assert len(visits) == len(rows())


def test_many_rows_are_fast(path):
    found = pd.DataFrame(rows()[:1] * 6000).assign(RID=range(6000), EXAMDATE="2006-01-01")
    write(path, found)
    start = time.perf_counter()
    assert len(adnimerge.read(path)) == 6000
    assert time.perf_counter() - start < 2
