// SPDX-License-Identifier: MIT
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * The indirection through which all objects are reached, and the barrier: nobody knows an object by
 * its address, and whoever wants the address has to pin the object, or take it, for as long as the
 * address is used. What moves is taken, so nobody touches memory that moves.
 */
final class Handles {
    private static final VarHandle STATE = MethodHandles.arrayElementVarHandle(int[].class);
    private static final int TAKEN = -1;

    /** How many have it pinned, or TAKEN. The accesses order those to the fields and the memory. */
    private final int[] state;

    /** Like the object's memory: read by who has pinned or taken it, written by who has taken. */
    final long[] offset;
    final long[] length; // 0: not in use
    final long[] id;
    final long[] version;

    Handles(int count) {
        state = new int[count];
        offset = new long[count];
        length = new long[count];
        id = new long[count];
        version = new long[count];
    }

    int count() {
        return state.length;
    }

    /** To read, beside others who read. */
    void pin(int object) {
        for (;;) {
            int pins = (int) STATE.getVolatile(state, object);
            if (pins != TAKEN && STATE.compareAndSet(state, object, pins, pins + 1)) {
                return;
            }
            Thread.yield();
        }
    }

    void unpin(int object) {
        STATE.getAndAdd(state, object, -1);
    }

    /** To write or to move, alone. */
    void take(int object) {
        while (!STATE.compareAndSet(state, object, 0, TAKEN)) {
            Thread.yield();
        }
    }

    void give(int object) {
        STATE.setVolatile(state, object, 0);
    }
}
