"""The population algorithm of the Maglev paper, as plainly as it can be written, with accumulated weights."""

from collections.abc import Sequence
from hashlib import blake2b


def populate(identities: Sequence[bytes], weights: Sequence[int], size: int, seed: bytes) -> list[int]:
    """Return the index of a backend for each slot."""
    permutation = {}
    order = []
    for index, identity in enumerate(identities):
        digest = blake2b(identity, key=seed, digest_size=24).digest()
        offset = int.from_bytes(digest[8:16], "big") % size
        skip = int.from_bytes(digest[16:24], "big") % (size - 1) + 1
        permutation[index] = (offset, skip)
        if weights[index] > 0:
            order.append((digest[:8], identity, index))
    order.sort()
    following = dict.fromkeys(permutation, 0)
    credit = dict.fromkeys(permutation, 0)
    entry = [-1] * size
    filled = 0
    while order:
        for _, _, index in order:
            credit[index] += weights[index]
            if credit[index] < max(weights):
                continue
            credit[index] -= max(weights)
            offset, skip = permutation[index]
            slot = (offset + following[index] * skip) % size
            while entry[slot] >= 0:
                following[index] += 1
                slot = (offset + following[index] * skip) % size
            entry[slot] = index
            following[index] += 1
            filled += 1
            if filled == size:
                return entry
    return []
