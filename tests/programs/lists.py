# SPDX-License-Identifier: MIT
"""200 lists of numbers that grow by appending, in random order.

Python has realloc() grow what a list keeps its elements in. Prints a checksum, then "done", and
waits for a line.
"""
import random
import sys


def main():
    random.seed(20)
    lists = [list(range(20000)) for _ in range(200)]
    for _ in range(2000):
        grown = random.choice(lists)
        grown.extend(range(len(grown), len(grown) + random.randrange(4000)))
    for i, grown in enumerate(lists):
        if any(at != element for at, element in enumerate(grown)):
            sys.exit(f"list {i} holds something else")
    print(len(lists), "lists,", sum(map(len, lists)), "elements")
    print("done", flush=True)
    sys.stdin.readline()


main()
