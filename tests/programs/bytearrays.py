# SPDX-License-Identifier: MIT
"""500 bytearrays that grow in random order, as the buffers of grow.c do.

Python has realloc() grow them. Each is checked at the end. Prints how large they are, then "done",
and waits for a line.
"""
import random
import sys

FIRST = 132 << 10  # larger than M_MMAP_THRESHOLD
LEAST = 4 << 10
SPREAD = 64 << 10


def piece(number, start, size):
    """What belongs at `start`: depends on the bytearray and on the place in it."""
    period = bytes((i * 7 + number * 31 + (i >> 5)) & 0xFF for i in range(1021 + number % 5))
    skip = start % len(period)
    return (period * ((skip + size) // len(period) + 1))[skip : skip + size]


def main():
    random.seed(20)
    arrays = [bytearray(piece(i, 0, FIRST)) for i in range(500)]
    order = list(range(len(arrays)))
    for _ in range(6):
        random.shuffle(order)
        for i in order:
            arrays[i] += piece(i, len(arrays[i]), LEAST + random.randrange(SPREAD))
    for i, array in enumerate(arrays):
        if array != piece(i, 0, len(array)):
            sys.exit(f"bytearray {i} holds something else")
    print(len(arrays), "bytearrays,", sum(map(len, arrays)), "bytes")
    print("done", flush=True)
    sys.stdin.readline()


main()
