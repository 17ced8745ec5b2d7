// SPDX-License-Identifier: MIT
import java.nio.LongBuffer;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What is in the objects: every word follows from the object's id, its page and its place in it,
 * and the first of each page from the version too, so lost, stale and swapped pages are all seen.
 */
final class Contents {
    static final int PAGE_WORDS = 512;
    static final AtomicLong errors = new AtomicLong();

    private final LongBuffer words;
    private final Handles handles;

    Contents(LongBuffer words, Handles handles) {
        this.words = words;
        this.handles = handles;
    }

    /** splitmix64: small, and the same on every machine. */
    private static long mix(long value) {
        long x = value + 0x9e3779b97f4a7c15L;
        x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
        x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
        return x ^ (x >>> 31);
    }

    private static long word(long id, int index) {
        return mix(id * 0x100000001b3L + index / PAGE_WORDS) + index * 0x2545f4914f6cdd1dL;
    }

    /** The caller has taken the object. */
    void fill(int object) {
        int start = (int) (handles.offset[object] / Long.BYTES);
        int count = (int) (handles.length[object] / Long.BYTES);
        for (int i = 0; i < count; i++) {
            words.put(start + i, word(handles.id[object], i));
        }
        stamp(object);
    }

    /** A write to every page. The caller has taken the object. */
    void stamp(int object) {
        int start = (int) (handles.offset[object] / Long.BYTES);
        int count = (int) (handles.length[object] / Long.BYTES);
        long version = ++handles.version[object];
        for (int i = 0; i < count; i += PAGE_WORDS) {
            words.put(start + i, word(handles.id[object], i) ^ version);
        }
    }

    /** Reads a whole object through the barrier. False: it is not in use. */
    boolean check(int object) {
        handles.pin(object);
        long id = handles.id[object];
        long version = handles.version[object];
        long[] copy = new long[(int) (handles.length[object] / Long.BYTES)];
        words.get((int) (handles.offset[object] / Long.BYTES), copy);
        handles.unpin(object);

        for (int i = 0; i < copy.length; i++) {
            long stamp = i % PAGE_WORDS == 0 ? version : 0;
            if (copy[i] != (word(id, i) ^ stamp)) {
                if (errors.getAndIncrement() < 10) {
                    System.err.printf("object %d, word %d: %x, not %x%n", id, i, copy[i],
                            word(id, i) ^ stamp);
                }
                break;
            }
        }
        return copy.length > 0;
    }
}
