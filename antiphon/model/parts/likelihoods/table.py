"""The likelihoods by the names users type: a new one is a class and a row here."""

from __future__ import annotations

from antiphon.model.parts.likelihoods.base import Likelihood
from antiphon.model.parts.likelihoods.bernoulli import Bernoulli
from antiphon.model.parts.likelihoods.located import Gaussian, Laplace, StudentT
from antiphon.model.parts.likelihoods.mixture import Mixture
from antiphon.model.parts.likelihoods.points import AbsoluteError, SquaredError
from antiphon.model.parts.likelihoods.quantiles import Quantiles
from antiphon.registry import Table

LIKELIHOODS: Table[Likelihood] = Table(
    "likelihood",
    {
        "gaussian": Gaussian,
        "laplace": Laplace,
        "student_t": StudentT,
        "mixture": Mixture,
        "quantiles": Quantiles,
        "bernoulli": Bernoulli,
        "mse": SquaredError,
        "mae": AbsoluteError,
    },
)
