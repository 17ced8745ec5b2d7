// SPDX-License-Identifier: MIT
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;

/**
 * The range in regions of equal size. Objects are put into a region one behind the other; who moves
 * them has a region of his own to move to, so that movers need not agree on more than this list.
 */
final class Regions {
    static final long PAGE = 4096;
    static final long BYTES = 4 << 20;
    /** The first page is left free: two movers never fill neighbours at the very same moment. */
    static final long START = PAGE;

    /** One region; belongs to one thread at a time. */
    static final class Region {
        final long base;
        long top = START;
        final List<Integer> objects = new ArrayList<>(); // some of them gone by now

        Region(long base) {
            this.base = base;
        }

        boolean fits(long length) {
            return top + length <= BYTES;
        }

        /** Room for an object. */
        long append(int object, long length) {
            long offset = base + top;
            top += length;
            objects.add(object);
            return offset;
        }

        boolean holds(long offset) {
            return offset >= base && offset < base + BYTES;
        }
    }

    private final ArrayDeque<Region> free = new ArrayDeque<>();
    private final List<Region> used = new ArrayList<>();

    Regions(int count) {
        for (int i = 0; i < count; i++) {
            free.add(new Region(i * BYTES));
        }
    }

    synchronized Region obtain() {
        Region region = free.pollFirst();
        if (region == null) {
            throw new IllegalStateException("no free region is left");
        }
        used.add(region);
        return region;
    }

    /** All that was in it has moved elsewhere. */
    void release(Region region) {
        Heap.release(region.base, BYTES);
        region.top = START;
        region.objects.clear();
        synchronized (this) {
            used.remove(region);
            free.addLast(region);
        }
    }

    synchronized List<Region> used() {
        return new ArrayList<>(used);
    }
}
