"""The stand-in for ADNIMERGE: its marginals, the effects it promises, its quirks, and its labels by a second rule."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from armed.data import adni_format as fmt
from armed.data import adni_model
from armed.data.adni_model import COLUMNS, INDICATORS, PREDICTIVE, Model
from armed.data.adni_standin import Truth, draw_subjects
from armed.data.adni_visits import visit_table, write_stand_in
from armed.errors import DataError

NAMES = list(fmt.FEATURE_NAMES.values())


@pytest.fixture(scope="module")
def subjects():
    return draw_subjects(0)


@pytest.fixture(scope="module")
def many():
    """40 seen sites of some 590 subjects: enough for a slope per site."""
    return draw_subjects(3, scale=30, n_seen=40, n_unseen=2)


@pytest.fixture(scope="module")
def visits():
    return visit_table(0)


@pytest.fixture(scope="module")
def fits(many):
    """A plain logistic regression per feature and site."""
    table, truth = many
    table = table[table["seen"]]
    X = table[list(COLUMNS)]
    X = (X - X.mean()) / X.std()
    rows = []
    for site, i in table.groupby("SITE").indices.items():
        y = table["label"].to_numpy()[i]
        for column, name in fmt.FEATURE_NAMES.items():
            fit = sm.Logit(y, sm.add_constant(X[column].to_numpy()[i])).fit(disp=0)
            true = truth.features.loc[name, "coef"] + truth.slopes.loc[site, name]
            rows.append((name, site, fit.params[1], fit.bse[1], true))
    return pd.DataFrame(rows, columns=["feature", "site", "slope", "se", "true"])


def month(viscode):
    return 0 if viscode == "bl" else int(viscode[1:])


def label_by_rule(rows):
    """Label of one subject from (month, diagnosis) pairs, after PROTOCOL 2; None: dropped."""
    rows = sorted(rows)
    diagnoses = [None if isinstance(d, float) else d for _, d in rows]
    filled = list(diagnoses)
    for k, diagnosis in enumerate(diagnoses):
        before = [d for d in diagnoses[:k] if d]
        after = [d for d in diagnoses[k + 1 :] if d]
        if diagnosis is None and before and after and before[-1] == after[0]:
            filled[k] = after[0]
    known = [(m, d) for (m, _), d in zip(rows, filled, strict=True) if d]
    if any(m <= 24 and d == "Dementia" for m, d in known):
        return 1
    later = [d for m, d in known if m >= 24]
    return 0 if later and later[0] != "Dementia" else None


def labels_by_rule(visits):
    mci = visits[visits["DX_bl"].isin(["EMCI", "LMCI"])]
    found = {}
    for rid, rows in mci.groupby("RID"):
        found[rid] = label_by_rule([(month(v), d) for v, d in zip(rows["VISCODE"], rows["DX"], strict=True)])
    return pd.Series(found, dtype=object)


class TestSubjects:
    @pytest.mark.parametrize("seed", range(5))
    def test_published_marginals(self, seed):
        table, truth = draw_subjects(seed)
        sizes = table.groupby("SITE").size()
        assert (sizes == truth.sites["size"].loc[sizes.index]).all() and len(sizes) == 55
        seen = truth.sites.query("seen")
        assert seen["size"].sum() == 392 and len(seen) == 20
        assert seen["size"].min() > truth.sites.query("not seen")["size"].max()
        assert seen["size"].max() > 3 * seen["size"].min()
        assert np.average(seen["rate"], weights=seen["size"]) == pytest.approx(0.2704, abs=1e-9)
        assert abs(table.loc[table["seen"], "label"].mean() - 0.2704) < 1 / 392
        assert seen["rate"].max() - seen["rate"].min() > 0.3
        assert sorted(truth.sites.index) != list(range(1, 56))

    def test_no_cell_is_missing_and_all_features_exist(self, subjects):
        table, _ = subjects
        assert table.drop(columns="conversion_month").notna().all(axis=None)
        for column, level in adni_model.LEVELS:
            assert (table.loc[table["seen"], column] == level).any(), (column, level)
        assert len(NAMES) + len(INDICATORS) == 37
        assert (table["label"] == 1).equals(table["conversion_month"] <= 24)

    def test_a_scale_multiplies_the_subjects_of_the_same_sites(self, subjects):
        table, truth = draw_subjects(0, scale=4)
        assert table["seen"].sum() == 4 * 392
        for name in ("slopes", "shifts", "indicator_slopes"):
            pd.testing.assert_frame_equal(getattr(truth, name), getattr(subjects[1], name))
        np.testing.assert_array_equal(truth.sites["intercept"], subjects[1].sites["intercept"])
        assert draw_subjects(0, scale=0.25)[0]["seen"].sum() == 98

    def test_seeds(self, subjects):
        again, truth = draw_subjects(0)
        pd.testing.assert_frame_equal(again, subjects[0])
        assert truth.to_json() == subjects[1].to_json()
        assert draw_subjects(1)[1].sites.index.tolist() != truth.sites.index.tolist()

    def test_what_cannot_be_is_refused_at_once(self):
        with pytest.raises(DataError) as error:
            draw_subjects(0, scale=0.1, n_seen=1, n_unseen=1.5)
        assert "3 problems" in str(error.value) and "scale is 0.1" in str(error.value)


class TestModel:
    def test_total_variance_is_one_and_within_class_covariance_is_positive(self):
        model = Model.published()
        p = adni_model.RATE
        S2 = model.within_sd**2
        total = S2 + p * (1 - p) * S2**2 * (model.coef**2 + model.slope_sd**2) + model.shift_sd**2
        np.testing.assert_allclose(total, 1, atol=1e-12)
        R = model.within_correlation
        np.testing.assert_allclose(np.diag(R), 1)
        np.testing.assert_allclose(R, R.T, atol=1e-12)
        assert np.linalg.eigvalsh(R).min() > 0.03

    def test_multivariate_effects_are_those_of_the_model_and_zero_for_the_redundant(self):
        model = Model.published()
        cov = model.within_correlation * np.outer(model.within_sd, model.within_sd)
        found = np.linalg.solve(cov, model.coef * model.within_sd**2)
        np.testing.assert_allclose(found, model.multivariate, atol=1e-10)
        assert set(np.array(COLUMNS)[np.abs(found) > 1e-10]) == set(PREDICTIVE)
        assert (np.abs(model.multivariate[np.isin(COLUMNS, PREDICTIVE)]) > 0.25).all()

    def test_correlations_change_little_for_that(self):
        loadings = np.array([adni_model.LOADINGS[column] for column in COLUMNS])
        assert (np.square(loadings).sum(axis=1) < 1).all()
        plain = loadings @ loadings.T
        np.fill_diagonal(plain, 1)
        R = pd.DataFrame(Model.published().within_correlation, COLUMNS, COLUMNS)
        assert np.abs(R.to_numpy() - plain).max() < 0.11
        assert R.loc["TAU", "PTAU"] > 0.9 and R.loc["mPACCdigit", "mPACCtrailsB"] > 0.85
        assert R.loc["ADAS11", "ADAS13"] > 0.8 and R.loc["ICV", "WholeBrain"] > 0.6 and R.loc["AGE", "Ventricles"] > 0.2

    def test_published_effects_are_checked(self, tmp_path):
        table = pd.read_csv(adni_model.PUBLISHED_EFFECTS)
        table.iloc[1:].to_csv(tmp_path / "effects.csv", index=False)
        with pytest.raises(DataError, match="feature 'Years of education' is missing"):
            Model.published(tmp_path / "effects.csv")
        table.drop(columns="coef").to_csv(tmp_path / "effects.csv", index=False)
        with pytest.raises(DataError, match="no column 'coef'"):
            Model.published(tmp_path / "effects.csv")


class TestEffects:
    """Plain univariate logistic regression, the only model ever fitted to the stand-in before it was frozen."""

    def test_univariate_coefficients_are_the_published_ones(self, fits):
        mean = fits.groupby("feature", sort=False)[["slope", "true"]].mean()
        se = np.sqrt(fits.groupby("feature", sort=False)["se"].apply(lambda s: (s**2).sum())) / 40
        # 5% for rounding, limits and what maximum likelihood overestimates; the rest is chance.
        assert (np.abs(mean["slope"] - mean["true"]) < 0.05 * np.abs(mean["true"]) + 3.5 * se).all(), mean
        effects = pd.read_csv(adni_model.PUBLISHED_EFFECTS).set_index("feature")
        chance = 3.5 * np.sqrt(se**2 + effects["random_slope_sd"] ** 2 / 40)
        assert (np.abs(mean["slope"] - effects["coef"]) < 0.05 * np.abs(effects["coef"]) + chance).all()

    def test_slopes_differ_over_sites_as_promised(self, fits):
        """Each site's fit is its true slope but for its standard error, and they are spread as the true ones."""
        z = (fits["slope"] - fits["true"]) / fits["se"]
        assert 0.9 < z.std() < 1.15
        assert z.groupby(fits["feature"]).std().between(0.65, 1.5).all()
        groups = fits.groupby("feature", sort=False)
        variance = groups["slope"].var() - groups["se"].apply(lambda s: (s**2).mean())
        true = groups["true"].std()
        # Errors of correlated features at one site go together: over data sets this ratio varies by some 10%.
        assert np.sqrt(variance.mean()) == pytest.approx(np.sqrt((true**2).mean()), rel=0.3)
        wide = true[true > 0.15].index
        assert fits[fits["feature"].isin(wide)].groupby("feature")[["slope", "true"]].corr().iloc[::2, 1].min() > 0.5

    def test_drawn_slopes_have_the_published_sd(self):
        _, truth = draw_subjects(0, scale=0.25, n_seen=400)
        ratio = truth.slopes.std() / truth.features["slope_sd"]
        assert ratio.between(0.88, 1.12).all() and abs(ratio.mean() - 1) < 0.03
        assert truth.sites["intercept"].std() == pytest.approx(0.8, rel=0.12)
        shifts = truth.shifts.std()
        assert (
            (shifts[:2] == 0).all() and shifts[2:15].between(0.08, 0.12).all() and shifts[15:].between(0.26, 0.34).all()
        )
        assert truth.shifts.corrwith(truth.sites["intercept"]).abs().max() < 0.2

    def test_features_within_class_and_site(self, many):
        table, truth = many
        X = table[list(COLUMNS)] / [adni_model.UNITS[column][1] for column in COLUMNS]
        inside = X - X.groupby([table["SITE"], table["label"]]).transform("mean")
        inside.columns = NAMES
        np.testing.assert_allclose(inside.std(), truth.features["within_sd"], rtol=0.05)
        assert np.abs(inside.corr() - truth.correlation).max(axis=None) < 0.05

    def test_levels(self, many):
        table, truth = many
        for column, shares in adni_model.FREQUENCIES.items():
            np.testing.assert_allclose(
                table[column].value_counts(normalize=True)[list(shares)], list(shares.values()), atol=0.02
            )
        assert truth.indicators["log_odds"].drop(["ApoE4 1", "ApoE4 2"]).eq(0).all()
        site = truth.sites["size"].idxmax()
        at = table[table["SITE"] == site]
        levels = pd.get_dummies(at["APOE4"]).drop(columns="0").astype(float)
        fit = sm.Logit(at["label"], sm.add_constant(levels)).fit(disp=0)
        true = (truth.indicators["log_odds"] + truth.indicator_slopes.loc[site])[["ApoE4 1", "ApoE4 2"]]
        assert (np.abs(fit.params[["1", "2"]].to_numpy() - true) < 3 * fit.bse[["1", "2"]].to_numpy()).all()
        female = at["PTGENDER"] == "Female"
        risk = at.loc[female, "label"].mean() / at.loc[~female, "label"].mean()
        assert risk == pytest.approx(truth.relative_risks.loc[site, "Female"], rel=0.2)


class TestTruth:
    def test_file(self, subjects, tmp_path):
        truth = subjects[1]
        truth.save(tmp_path / "truth.json")
        again = Truth.load(tmp_path / "truth.json")
        assert again.to_json() == truth.to_json()
        for name in ("features", "indicators", "sites", "slopes", "relative_risks", "correlation"):
            pd.testing.assert_frame_equal(getattr(again, name), getattr(truth, name), check_index_type=False)
        values = json.loads((tmp_path / "truth.json").read_text())
        assert values["features"]["ADAS13"]["coef"] == pytest.approx(1.59391)
        assert values["seed"] == 0 and values["model"]["rate"] == 0.2704

    def test_predictive(self, subjects):
        assert set(subjects[1].predictive) == {fmt.FEATURE_NAMES[c] for c in PREDICTIVE} | {"ApoE4 1", "ApoE4 2"}


class TestVisits:
    def test_columns_and_codes(self, visits):
        table, _ = visits
        assert {
            *fmt.IDENTIFIERS,
            *fmt.COLUMNS,
            *fmt.MEASURES,
            "PTID",
            "COLPROT",
            "ORIGPROT",
            "M",
            "update_stamp",
        } <= set(table)
        assert not table.duplicated(["RID", "VISCODE"]).any()
        for column, codes in ({"DX": fmt.DIAGNOSES, "DX_bl": fmt.BASELINE_DIAGNOSES} | fmt.CATEGORICAL).items():
            assert set(table[column].dropna()) <= set(codes)
        assert set(table["DX_bl"]) == set(fmt.BASELINE_DIAGNOSES)
        assert (table["VISCODE"].map(month) == table["M"]).all()
        assert table["PTID"].str.fullmatch(r"\d{3}_S_\d{4,}").all()
        assert (table["PTID"].str[:3].astype(int) == table["SITE"]).all()
        dates = pd.to_datetime(table["EXAMDATE"], format="%Y-%m-%d")
        assert (dates.groupby(table["RID"]).diff().dropna() > pd.Timedelta(0)).all()
        assert table.groupby("RID")["VISCODE"].first().eq("bl").all()

    def test_baseline_copies(self, visits):
        table, _ = visits
        constant = ["SITE", "PTID", "DX_bl", "ORIGPROT", *fmt.COLUMNS]
        assert (table.groupby("RID")[constant].nunique() <= 1).all(axis=None)
        first = table[table["VISCODE"] == "bl"]
        for name in fmt.MEASURES:
            assert first[name].equals(first[f"{name}_bl"].rename(name))

    def test_values_are_those_of_the_subjects(self, visits, subjects):
        table, truth = visits
        assert truth.to_json() == subjects[1].to_json()
        first = table[table["VISCODE"] == "bl"].set_index("RID").loc[subjects[0].index]
        for column in COLUMNS:
            found = first[column] if column in fmt.DEMOGRAPHIC else first[f"{column}_bl"]
            if column in fmt.DETECTION_LIMITS:
                found = pd.to_numeric(found.str.lstrip("<>"))
            there = found.notna()
            np.testing.assert_array_equal(found[there], subjects[0].loc[there, column])

    @pytest.mark.parametrize(("seed", "scale"), [(0, 1.0), (1, 1.0), (2, 4.0), (3, 0.25)])
    def test_the_rule_gives_the_drawn_labels(self, seed, scale):
        table, truth = visit_table(seed, scale=scale)
        drawn = draw_subjects(seed, scale=scale)[0]
        found = labels_by_rule(table)
        assert (found.loc[drawn.index] == drawn["label"]).all()
        others = found.drop(drawn.index)
        assert others.isna().all()
        if scale >= 1:
            assert 0.06 < len(others) / len(drawn) < 0.2
        sizes = table.drop_duplicates("RID").set_index("RID").loc[found.dropna().index].groupby("SITE").size()
        assert set(sizes.nlargest(20).index) == set(truth.sites.query("seen").index)

    def test_quirks_of_the_diagnoses(self, visits):
        table, _ = visits
        mci = table[table["DX_bl"].isin(["EMCI", "LMCI"])]
        before = mci.groupby("RID")["DX"].transform(lambda dx: dx.ffill())
        after = mci.groupby("RID")["DX"].transform(lambda dx: dx.bfill())
        empty = mci["DX"].isna() & before.notna() & after.notna()
        assert (empty & (before == after)).sum() > 50
        assert (empty & (before != after)).sum() > 5
        states = mci.dropna(subset="DX").groupby("RID")["DX"].agg(list)
        pairs = states.map(lambda dx: set(itertools.pairwise(dx)))
        assert pairs.map(lambda found: ("MCI", "CN") in found).sum() > 10
        assert pairs.map(lambda found: ("Dementia", "MCI") in found).sum() > 1
        labels = labels_by_rule(table)
        stable = mci[mci["RID"].map(labels) == 0]
        assert (stable["DX"].eq("Dementia") & stable["M"].gt(24)).sum() > 10
        at_24 = stable[stable["M"] == 24].set_index("RID")["DX"]
        assert (~stable["RID"].drop_duplicates().isin(at_24.index)).sum() > 5, "month 24 without a row"
        assert at_24.isna().sum() > 5, "month 24 without a diagnosis"
        dropped = mci[mci["RID"].map(labels).isna()]
        assert dropped["DX"].eq("Dementia").any() and (dropped.groupby("RID")["M"].max() < 24).any()
        assert (table.groupby("RID").size().value_counts() > 5).sum() > 4, "missing visits"

    def test_missing_cells_and_detection_limits(self, visits):
        table, _ = visits
        first = table[(table["VISCODE"] == "bl") & table["DX_bl"].isin(["EMCI", "LMCI"])]
        missing = first[list(fmt.BASELINE)].isna().mean()
        assert missing[["FDG_bl", "TAU_bl", "PTAU_bl", "ABETA_bl"]].between(0.22, 0.45).all()
        assert missing[["Hippocampus_bl", "ICV_bl", "MidTemp_bl"]].between(0.05, 0.22).all()
        assert missing[["CDRSB_bl", "MMSE_bl", "TRABSCOR_bl", "ADAS13_bl"]].max() < 0.05
        for name, limits in fmt.DETECTION_LIMITS.items():
            for column in (name, f"{name}_bl"):
                assert set(limits) <= set(table[column])
                numbers = pd.to_numeric(table[column][~table[column].isin(limits)])
                assert numbers.dropna().between(float(limits[0][1:]), float(limits[1][1:]), inclusive="neither").all()

    def test_files(self, visits, tmp_path):
        write_stand_in(tmp_path / "0", 0)
        assert sorted(path.name for path in (tmp_path / "0").iterdir()) == ["ADNIMERGE.csv", "truth.json"]
        cells = pd.read_csv(tmp_path / "0" / "ADNIMERGE.csv", dtype=str, keep_default_na=False)
        assert cells.shape == visits[0].shape
        assert set(cells["APOE4"]) == {"0", "1", "2", ""}
        assert cells["Hippocampus_bl"].str.fullmatch(r"\d*").all() and cells["SITE"].str.fullmatch(r"\d+").all()
        numbers = pd.to_numeric(cells["FDG_bl"].replace("", np.nan))
        np.testing.assert_array_equal(numbers, visits[0]["FDG_bl"])
        assert Truth.load(tmp_path / "0" / "truth.json").to_json() == visits[1].to_json()

    def test_large_tables_are_fast(self):
        start = time.process_time()
        table, _ = visit_table(5, scale=16)
        assert len(table) > 60_000
        assert time.process_time() - start < 6
