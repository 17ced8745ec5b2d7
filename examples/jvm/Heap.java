// SPDX-License-Identifier: MIT
import java.nio.ByteBuffer;

/** The native part, heap.c: a reserved range of memory; places in it are offsets in bytes. */
final class Heap {
    static {
        System.loadLibrary("jvmheap");
    }

    private Heap() {
    }

    /** Reserves the range, once. What is not committed cannot be touched. */
    static native ByteBuffer reserve(long bytes);

    /** Makes memory readable and writable. */
    static native void commit(long offset, long length);

    /** Drops the contents; the addresses stay reserved. */
    static native void release(long offset, long length);

    /** Moves pages with mremap() and returns how many nanoseconds the call took. */
    static native long move(long from, long to, long length);

    /** VMAs and contiguous runs, in the range and in all, as key=value pairs. */
    static native String figures();
}
