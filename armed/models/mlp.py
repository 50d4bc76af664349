"""Dense networks as in the paper's simulations and dementia prognosis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from armed.layers.dense import dense, relu_blocks


class MLP(nn.Module):
    """Dense ReLU network; its hidden layers are ``hidden.0``, ``hidden.1`` and so on.

    Parameters
    ----------
    n_features : int
        Inputs p.
    hidden : sequence of int
        Units of the hidden layers.
    n_outputs : int
        Outputs K: 1 for a binary logit or a continuous mean.

    Examples
    --------
    >>> import torch
    >>> MLP(2, hidden=(4, 4, 4))(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(self, n_features: int, hidden: Sequence[int] = (4, 4, 4), n_outputs: int = 1) -> None:
        super().__init__()
        self.hidden = relu_blocks(n_features, hidden)
        self.output = dense([n_features, *hidden][-1], n_outputs)

    @property
    def hidden_names(self) -> list[str]:
        """Layers that an adversary reads."""
        return [f"hidden.{i}" for i in range(len(self.hidden))]

    def forward(self, X: Tensor) -> Tensor:
        """Logits, or means of continuous labels.

        Parameters
        ----------
        X : Tensor, (n, p)

        Returns
        -------
        Tensor, (n, K)
        """
        return self.output(self.hidden(X))
