# SPDX-License-Identifier: MIT
"""mmap.resize() of private anonymous maps, growing and shrinking in random order.

Python calls mremap() for it. Each map is checked at the end. Prints how large they are, then
"done", and waits for a line.
"""
import mmap
import random
import sys

PAGE = mmap.PAGESIZE


def piece(number, start, size):
    """What belongs there: each page says whose it is, and which."""
    text = b"".join(b"%07d %07d\n" % (number, at) for at in range(start, start + size, PAGE))
    return b"".join(text[i : i + 16] * (PAGE // 16) for i in range(0, len(text), 16))


def main():
    random.seed(20)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    maps = []
    for i in range(300):
        maps.append(mmap.mmap(-1, 16 * PAGE, flags=flags))
        maps[i][:] = piece(i, 0, 16 * PAGE)
    for _ in range(2000):
        i = random.randrange(len(maps))
        size = len(maps[i])
        resized = random.randrange(4, 64) * PAGE
        maps[i].resize(resized)
        if resized > size:
            maps[i][size:] = piece(i, size, resized - size)
    for i, resized in enumerate(maps):
        if resized[:] != piece(i, 0, len(resized)):
            sys.exit(f"map {i} holds something else")
    print(len(maps), "maps,", sum(map(len, maps)), "bytes")
    print("done", flush=True)
    sys.stdin.readline()


main()
