"""Hashes of bytes that are the same on every machine and in every process, as files of models count on.

Sources: FarmHash's 64-bit fingerprint (Pike and Alakuijala, 2014), and SipHash-2-4 (Aumasson and Bernstein, "SipHash: a
fast short-input PRF", 2012). TensorFlow, and with it Keras, uses these two.
"""

from __future__ import annotations

from struct import unpack_from

_ALL = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _word(data: bytes, place: int) -> int:
    return int(unpack_from("<Q", data, place)[0])


def _turned(number: int, right: int) -> int:
    return (number >> right | number << 64 - right) & _ALL


def _mixed(number: int) -> int:
    return number ^ number >> 47


def _of_pair(u: int, v: int, factor: int) -> int:
    a = _mixed((u ^ v) * factor & _ALL)
    b = _mixed((v ^ a) * factor & _ALL)
    return b * factor & _ALL


def fingerprint(data: bytes) -> int:
    """FarmHash's 64-bit fingerprint."""
    count = len(data)
    if count <= 16:
        return _up_to_16(data)
    if count <= 32:
        factor = _K2 + 2 * count
        a, b = _word(data, 0) * _K1 & _ALL, _word(data, 8)
        c, d = _word(data, count - 8) * factor & _ALL, _word(data, count - 16) * _K2 & _ALL
        return _of_pair(
            _turned(a + b & _ALL, 43) + _turned(c, 30) + d & _ALL, a + _turned(b + _K2 & _ALL, 18) + c & _ALL, factor
        )
    return _up_to_64(data) if count <= 64 else _beyond_64(data)


def _up_to_16(data: bytes) -> int:
    count = len(data)
    factor = _K2 + 2 * count
    if count >= 8:
        a, b = _word(data, 0) + _K2 & _ALL, _word(data, count - 8)
        return _of_pair(_turned(b, 37) * factor + a & _ALL, (_turned(a, 25) + b) * factor & _ALL, factor)
    if count >= 4:
        first, last = unpack_from("<I", data)[0], unpack_from("<I", data, count - 4)[0]
        return _of_pair(count + (first << 3), last, factor)
    if count:
        y, z = data[0] + (data[count >> 1] << 8), count + (data[-1] << 2)
        return _mixed((y * _K2 ^ z * _K0) & _ALL) * _K2 & _ALL
    return _K2


def _up_to_64(data: bytes) -> int:
    count = len(data)
    factor = _K2 + 2 * count
    a, b = _word(data, 0) * _K2 & _ALL, _word(data, 8)
    c, d = _word(data, count - 8) * factor & _ALL, _word(data, count - 16) * _K2 & _ALL
    y = _turned(a + b & _ALL, 43) + _turned(c, 30) + d & _ALL
    z = _of_pair(y, a + _turned(b + _K2 & _ALL, 18) + c & _ALL, factor)
    e, f = _word(data, 16) * factor & _ALL, _word(data, 24)
    g, h = (y + _word(data, count - 32)) * factor & _ALL, (z + _word(data, count - 24)) * factor & _ALL
    return _of_pair(
        _turned(e + f & _ALL, 43) + _turned(g, 30) + h & _ALL, e + _turned(f + a & _ALL, 18) + g & _ALL, factor
    )


def _of_32(data: bytes, place: int, a: int, b: int) -> tuple[int, int]:
    """Of 32 bytes and two seeds."""
    w, x, y, z = unpack_from("<4Q", data, place)
    a = a + w & _ALL
    b = _turned(b + a + z & _ALL, 21)
    total = a + x + y & _ALL
    b = b + _turned(total, 44) & _ALL
    return total + z & _ALL, b + a & _ALL


def _beyond_64(data: bytes) -> int:
    count, seed = len(data), 81
    x, y = seed, seed * _K1 + 113 & _ALL
    z = _mixed(y * _K2 + 113 & _ALL) * _K2 & _ALL
    v, w = (0, 0), (0, 0)
    x = x * _K2 + _word(data, 0) & _ALL
    places = [*range(0, (count - 1) // 64 * 64, 64), count - 64]
    factor = _K1
    for place in places:
        # The last 64 bytes are taken with another factor, and reach back over those before them.
        is_last, weight = place == places[-1], 1
        if is_last:
            factor, weight = _K1 + ((z & 0xFF) << 1), 9
            w = (w[0] + (count - 1 & 63) & _ALL, w[1])
            v = (v[0] + w[0] & _ALL, v[1])
            w = (w[0] + v[0] & _ALL, w[1])
        x = _turned(x + y + v[0] + _word(data, place + 8) & _ALL, 37) * factor & _ALL
        y = _turned(y + v[1] + _word(data, place + 48) & _ALL, 42) * factor & _ALL
        x ^= w[1] * weight & _ALL
        y = y + v[0] * weight + _word(data, place + 40) & _ALL
        z = _turned(z + w[0] & _ALL, 33) * factor & _ALL
        v = _of_32(data, place, v[1] * factor & _ALL, x + w[0] & _ALL)
        w = _of_32(data, place + 32, z + w[1] & _ALL, y + _word(data, place + 16) & _ALL)
        z, x = x, z
    return _of_pair(
        _of_pair(v[0], w[0], factor) + _mixed(y) * _K0 + z & _ALL, _of_pair(v[1], w[1], factor) + x & _ALL, factor
    )


def keyed_hash(data: bytes, key: tuple[int, int]) -> int:
    """SipHash-2-4 with a key of two numbers of 64 bits."""
    a, b = key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D
    c, d = key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573
    whole = len(data) // 8 * 8
    words = [*unpack_from(f"<{whole // 8}Q", data), int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56]
    for word, rounds in [*((word, 2) for word in words), (0, 4)]:
        if rounds == 2:
            d ^= word
        else:
            c ^= 0xFF
        for _ in range(rounds):
            a, c = a + b & _ALL, c + d & _ALL
            b, d = _turned(b, 51) ^ a, _turned(d, 48) ^ c
            a = _turned(a, 32)
            c, a = c + b & _ALL, a + d & _ALL
            b, d = _turned(b, 47) ^ c, _turned(d, 43) ^ a
            c = _turned(c, 32)
        if rounds == 2:
            a ^= word
    return a ^ b ^ c ^ d
