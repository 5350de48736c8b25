"""The inner loops of :class:`~isaacmm.matching.search.boxes.Boxes`, compiled by numba.

All loops live in this one file: numba's cache on disk looks at a function's own file only. Loops over the rows of a
leaf are innermost and run over neighbouring numbers, so that they become vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np

#: Rows of a leaf, and leaves of a node.
LEAF, FAN = 64, 16
#: Fills the last leaf: far from any query, yet its square is a float32.
FAR = 1e18
#: Squared distances from here on count as infinite.
LIMIT = 1e35
#: Candidate leaves are visited by distance in so many classes.
CLASSES = 32

# Sums may be reordered and fused: the error bound in `nearest` holds for any order. Infinities stay as they are.
_fast = numba.njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy", nogil=True, cache=True)
_plain = numba.njit(error_model="numpy", nogil=True, cache=True)


@_fast
def _bounds(q, low, high, start, count, out):  # type: ignore[no-untyped-def]
    """Squared distances from ``q [W]`` to boxes ``low, high [W, :]``, those from ``start`` on, into ``out``."""
    zero = np.float32(0.0)
    for b in range(count):
        out[b] = zero
    for w in range(len(q)):
        value = q[w]
        lo, hi = low[w, start : start + count], high[w, start : start + count]
        for b in range(count):
            gap = max(max(lo[b] - value, value - hi[b]), zero)
            out[b] += gap * gap


@_fast
def _distances(q, rows, out):  # type: ignore[no-untyped-def]
    """Squared distances from ``q [W]`` to ``rows [W, LEAF]`` into ``out [LEAF]``; returns the smallest."""
    for i in range(LEAF):
        out[i] = np.float32(0.0)
    for w in range(len(q)):
        value = q[w]
        column = rows[w]
        for i in range(LEAF):
            gap = column[i] - value
            out[i] += gap * gap
    least = out[0]
    for i in range(LEAF):
        least = min(least, out[i])
    return least


@_plain
def _exact(q, row):  # type: ignore[no-untyped-def]
    """The distance that decides: float64, from the first column to the last."""
    total = 0.0
    for w in range(len(q)):
        gap = np.float64(q[w]) - np.float64(row[w])
        total += gap * gap
    return total


@_plain
def _visit(q, leaf, leaves, ids, features, slack, distance, best, found, reach):  # type: ignore[no-untyped-def]
    """Looks at the rows of one leaf. Returns the best squared distance, its row, and how far to look from now on."""
    if _distances(q, leaves[leaf], distance) <= reach:
        for i in range(LEAF):
            if distance[i] <= reach:
                row = ids[leaf * LEAF + i]
                cost = _exact(q, features[row])
                if cost < best or (cost == best and row < found):
                    best, found = cost, row
                    reach = np.float32(cost * slack + 1e-30)
    return best, found, reach


@_plain
def nearest(query, style, first, nodes, boxes, leaves, ids, features, fallback, found, costs):  # type: ignore[no-untyped-def]
    """Nearest rows of ``query [Q, W]``.

    Args:
        query: ``[Q, W]`` float32.
        style: ``[Q]`` int64, or empty where all queries have style 0.
        first: ``[S + 1]`` int64, nodes of each style.
        nodes: ``[2, W, N]`` float32, lower and upper corners of all nodes.
        boxes: ``[N, 2, W, FAN]`` float32, corners of the leaves of each node.
        leaves: ``[N * FAN, W, LEAF]`` float32, rows of each leaf.
        ids: ``[N * FAN * LEAF]`` int64, rows of the database.
        features: ``[F, W]`` float32, the database.
        fallback: ``[S]`` int64, row of each style for queries that have no finite distance.
        found: ``[Q]`` int64, receives rows.
        costs: ``[Q]`` float32, receives squared distances.

    Returns:
        Whether all styles are known; nothing is searched for one that is not.
    """
    width = query.shape[1]
    most = 0
    for j in range(len(first) - 1):
        most = max(most, first[j + 1] - first[j])
    far = np.empty(most, np.float32)
    near = np.empty(FAN, np.float32)
    distance = np.empty(LEAF, np.float32)
    waiting = np.empty(most * FAN, np.int64)
    bound = np.empty(most * FAN, np.float32)
    order = np.empty(most * FAN, np.int64)
    group = np.empty(most * FAN, np.int64)
    begin = np.empty(CLASSES + 1, np.int64)
    # Sums of W squares in float32, in whatever order, are off by at most this factor; twice that for good measure.
    slack = 1.0 + 2.0 * (width + 4) * 2.0**-24
    known = True
    for i in range(len(query)):
        s = np.int64(style[i]) if len(style) > 0 else np.int64(0)
        if s < 0 or s >= len(first) - 1:
            known = False
            continue
        q = query[i]
        start, count = first[s], first[s + 1] - first[s]
        best, row, reach = np.inf, np.int64(-1), np.float32(LIMIT)
        _bounds(q, nodes[0], nodes[1], start, count, far)
        # the most promising leaf of the two most promising nodes says how far the rest need be looked at
        closest, second = 0, 0
        for n in range(1, count):
            if far[n] < far[closest]:
                closest, second = n, closest
            elif second == closest or far[n] < far[second]:
                second = n
        for n in (closest, second):
            _bounds(q, boxes[start + n, 0], boxes[start + n, 1], 0, FAN, near)
            leaf = 0
            for k in range(FAN):
                if near[k] < near[leaf]:
                    leaf = k
            if near[leaf] <= reach:
                best, row, reach = _visit(
                    q, (start + n) * FAN + leaf, leaves, ids, features, slack, distance, best, row, reach
                )
        # all leaves within reach, sorted into classes of distance
        total = 0
        for n in range(count):
            if far[n] <= reach:
                _bounds(q, boxes[start + n, 0], boxes[start + n, 1], 0, FAN, near)
                for k in range(FAN):
                    if near[k] <= reach:
                        waiting[total] = (start + n) * FAN + k
                        bound[total] = near[k]
                        total += 1
        begin[:] = 0
        scale = np.float32(CLASSES - 1) / reach
        for j in range(total):
            g = np.int64(bound[j] * scale)
            group[j] = g
            begin[g + 1] += 1
        for c in range(CLASSES):
            begin[c + 1] += begin[c]
        for j in range(total):
            g = group[j]
            order[begin[g]] = j
            begin[g] += 1
        for k in range(total):
            j = order[k]
            if bound[j] <= reach:
                best, row, reach = _visit(
                    q, waiting[j], leaves, ids, features, slack, distance, best, row, reach
                )
        found[i] = row if row >= 0 else fallback[s]
        costs[i] = np.float32(best)
    return known
