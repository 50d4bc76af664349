"""The design and the marginals of the stand-in of the live-cell study."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from armed.data.cell_model import CELL_SD, FOLLOWS, PDX, PDX_SD, Settings, draw, expected_auroc
from armed.errors import ConfigError

NUMBERS = range(12)


@pytest.fixture(scope="module")
def drawn():
    """PDX, dates and cells of some data sets of the default size."""
    return [draw(Settings(), number) for number in NUMBERS]


def is_high(cells):
    return np.array([cell.efficiency == "high" for cell in cells])


def date_shares(dates, cells, seen):
    """Share of high cells of each date, and of each cell's date; the cells' own labels."""
    among = [cell for cell in cells if cell.date in {date.id for date in dates if date.seen == seen}]
    labels, where = is_high(among), np.array([cell.date for cell in among])
    shares = {date: labels[where == date].mean() for date in np.unique(where)}
    return shares, np.array([shares[date] for date in where]), labels


class TestDesign:
    def test_sizes(self, drawn):
        for _, dates, cells in drawn:
            assert [date.seen for date in dates] == [True] * 8 + [False] * 8
            assert sum(sum(date.n.values()) for date in dates if date.seen) == 112
            assert len(cells) == 176 and len({cell.path for cell in cells}) == 176

    def test_pdx_are_confounded_with_dates(self, drawn):
        for _, dates, _ in drawn:
            assert {len(date.n) for date in dates if date.seen} == {2, 3}
            assert {len(date.n) for date in dates if not date.seen} == {1}
            for seen in (True, False):
                assert {pdx for date in dates if date.seen == seen for pdx in date.n} == set(PDX)
            often = [sum(pdx in date.n for date in dates if date.seen) for pdx in PDX]
            assert min(often) >= 2, "distances between dates of one PDX need two of them"

    def test_seen_dates_tell_the_class(self, drawn):
        found = []
        for _, dates, cells in drawn:
            shares, of_cell, labels = date_shares(dates, cells, seen=True)
            assert all(0.15 < share < 0.85 and share != 0.5 for share in shares.values())
            assert sum(share > 0.5 for share in shares.values()) == 4
            found.append(roc_auc_score(labels, of_cell))
        assert 0.67 < np.mean(found) < 0.74

    def test_unseen_dates_are_of_either_class(self, drawn):
        for _, dates, cells in drawn:
            shares, _, labels = date_shares(dates, cells, seen=False)
            assert sorted(shares.values()) == [0] * 4 + [1] * 4 and labels.mean() == 0.5

    def test_microscopes_of_seen_and_unseen_dates_are_drawn_alike(self, drawn):
        """Brightness over many dates: the same mean and spread, and nothing of the class."""
        all_dates = [date for _, dates, _ in drawn for date in dates]
        seen, unseen = ([d.microscope.brightness for d in all_dates if d.seen == s] for s in (True, False))
        assert len(seen) == len(unseen) == 96
        assert np.mean(seen) == pytest.approx(np.mean(unseen), abs=0.035)
        assert np.std(seen) == pytest.approx(np.std(unseen), rel=0.3)
        low_share = [sum(n for p, n in d.n.items() if PDX[p] == "low") / sum(d.n.values()) for d in all_dates]
        assert abs(np.corrcoef(low_share, seen + unseen)[0, 1]) < 0.3

    def test_the_shortcut_is_worth_nothing_at_unseen_dates(self, drawn):
        """A classifier of the microscopes alone, fitted at seen dates."""
        found = []
        for _, dates, cells in drawn:
            effects = {date.id: date.microscope.deviations() for date in dates}
            seen = np.array([cell.date in {date.id for date in dates if date.seen} for cell in cells])
            X, y = np.array([effects[cell.date] for cell in cells]), is_high(cells)
            score = LogisticRegression().fit(X[seen], y[seen]).decision_function(X)
            found.append([roc_auc_score(y[part], score[part]) for part in (seen, ~seen)])
        at_seen, at_unseen = np.array(found).T
        assert at_seen.min() > 0.63
        assert at_unseen.mean() == pytest.approx(0.5, abs=0.1) and at_unseen.max() < 0.9

    @pytest.mark.parametrize(
        ("settings", "n_cells"),
        [
            ({"n_seen_cells": 12, "n_seen_dates": 2, "n_unseen_cells": 0, "n_unseen_dates": 0}, 12),
            ({"n_seen_cells": 37, "n_seen_dates": 6, "n_unseen_cells": 5, "n_unseen_dates": 5}, 42),
            ({"n_seen_cells": 600, "n_seen_dates": 20, "n_unseen_cells": 300, "n_unseen_dates": 40}, 900),
        ],
    )
    def test_other_sizes(self, settings, n_cells):
        for number in (0, 5):
            _, dates, cells = draw(Settings.read(settings), number)
            assert len(cells) == n_cells and len({date.id for date in dates}) == len(dates)
            assert all(min(date.n.values()) >= 2 and 2 <= len(date.n) <= 3 for date in dates if date.seen)
            assert all(min(date.n.values()) >= 1 and len(date.n) == 1 for date in dates if not date.seen)
            assert all(len({PDX[p] for p in date.n}) == 2 for date in dates if date.seen)

    def test_data_sets_have_the_same_names_and_other_cells(self, drawn):
        first, second = drawn[:2]
        assert [date.id for date in first[1]] == [date.id for date in second[1]]
        assert [p.id for p in first[0]] == [p.id for p in second[0]]
        assert all(a.microscope != b.microscope for a, b in zip(first[1], second[1], strict=True))
        assert not {c.phenotype for c in first[2]} & {c.phenotype for c in second[2]}
        assert draw(Settings(), 0) == first

    def test_names(self, drawn):
        _, dates, cells = drawn[0]
        assert all(date.id.isdigit() and len(date.id) == 8 for date in dates)
        cell, date = cells[0], dates[0]
        assert date.folder == "_".join([date.id, *sorted(date.n)])
        assert cell.path == f"{PDX[cell.pdx]}/{cell.pdx}/{date.folder}/cell_001"
        assert cell.key == f"{cell.pdx}/{date.id}/cell_001"


class TestState:
    def test_auroc_of_the_phenotype(self, drawn):
        found = [roc_auc_score(is_high(cells), [c.phenotype for c in cells]) for _, _, cells in drawn]
        assert np.mean(found) == pytest.approx(expected_auroc(), abs=0.02)
        assert expected_auroc() == pytest.approx(0.90, abs=0.002)

    def test_pdx_and_cells_deviate_as_said(self, drawn):
        for pdxs, _, _ in drawn:
            for efficiency in ("high", "low"):
                deviations = [p.deviation for p in pdxs if p.efficiency == efficiency]
                assert np.mean(deviations) == pytest.approx(0, abs=1e-9)
                assert np.std(deviations) == pytest.approx(PDX_SD)
        within = [
            np.std([c.phenotype for c in cells if c.pdx == p.id]) for pdxs, _, cells in drawn for p in pdxs
        ]  # fmt: skip
        assert np.mean(within) == pytest.approx(CELL_SD, rel=0.05)

    def test_no_trait_tells_the_phenotype_alone(self, drawn):
        cells = [cell for _, _, cells in drawn for cell in cells]
        y, traits = is_high(cells), np.array([[getattr(c, name) for name in FOLLOWS] for c in cells])
        alone = np.array([roc_auc_score(y, t) for t in traits.T])
        signs = np.sign(list(FOLLOWS.values()))
        assert (np.sign(alone - 0.5) == signs).all() and (np.abs(alone - 0.5) > 0.2).all()
        together = cross_val_predict(LogisticRegression(), traits, y, cv=5, method="decision_function")
        assert np.abs(alone - 0.5).max() + 0.5 < roc_auc_score(y, together) < expected_auroc()

    def test_pdx_can_be_guessed_not_read_off(self, drawn):
        told = []
        for _, _, cells in drawn:
            X = np.array([[np.log(c.radius), c.elongation, c.granularity, c.texture, c.phenotype] for c in cells])
            pdx = np.array([c.pdx for c in cells])
            told.append((cross_val_predict(LinearDiscriminantAnalysis(), X, pdx, cv=4) == pdx).mean())
        assert 1.7 / 7 < np.mean(told) < 0.75


class TestSettings:
    def test_all_problems_at_once(self):
        wrong = {"image_size": 20, "n_seen_dates": 1, "n_unseen_cells": 2, "frames": 1.5, "n_seen_cell": 100}
        with pytest.raises(ConfigError) as caught:
            Settings.read(wrong)
        for part in (
            "5 problems",
            "image_size is 20",
            "n_seen_dates is 1",
            "n_unseen_cells is 2 for 8",
            "frames is 1.5",
        ):
            assert part in str(caught.value)
        assert "Did you mean 'n_seen_cells'?" in str(caught.value)

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"image_size": 512}, "expected 32 to 256"),
            ({"n_seen_cells": 40}, "n_seen_cells is 40 for 8 seen dates; expected at least 6 a date"),
            ({"n_unseen_dates": 0}, "none without dates"),
            ({"frames": True}, "frames is True"),
        ],
    )
    def test_each(self, settings, told):
        with pytest.raises(ConfigError, match=told):
            Settings.read(settings)

    def test_defaults(self):
        assert Settings.read({}) == Settings() == Settings.read(Settings())
