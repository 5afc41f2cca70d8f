"""What a type checker refuses: each line fails in mypy and in pyright, by the rule it names.

Both report an ignore without an error, so a line that passes is a failure of the check.
"""

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F
import fastsoftmax.nn as nn

x = np.zeros((2, 3), np.float32)

F.softmax(x, 1.5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.softmax(x, "1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.softmax(x, axis=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
F.softmax()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
F.softmax(x, 1, 3, None, x)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
F.log_softmax(x, 1, out=[0.0])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.softmin({1: 2}, 0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.logsumexp(x)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
F.logsumexp(x, None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.gumbel_softmax(x, rng="seed")  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.gumbel_softmax(x, tau=None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
F.softmax_backward(x, x)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
F.cross_entropy(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
F.cross_entropy(x, [0, 1], reduction=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
F.nll_loss(x, [0, 1], label_smoothing=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nn.Softmax(dim="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
nn.Softmax(1)()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nn.CrossEntropyLoss()(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nn.NLLLoss(label_smoothing=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fastsoftmax.set_num_threads("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fastsoftmax.num_threads()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
_: list[float] = F.softmax(x, 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
