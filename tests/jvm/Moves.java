// SPDX-License-Identifier: MIT
import java.util.concurrent.locks.LockSupport;

/** The native part, moves.c. */
final class Moves {
    static {
        System.loadLibrary("jvmmoves");
    }

    private Moves() {
    }

    /** Moves a few pieces of memory; true if the contents are right. */
    static native boolean some();

    /** Uses arrays, strings and back(); ends with the exception of back(-1). */
    static native int exercise(int[] array, String text);

    /** Writes to where nothing is. */
    static native void crash();

    static int back(int value) {
        if (value < 0) {
            throw new IllegalArgumentException("back " + value);
        }
        return value * 2;
    }

    /** From now on memory is moved all the while, by a thread of its own. */
    static void keepMoving() {
        if (!some()) {
            throw new AssertionError("contents wrong");
        }
        Thread thread = new Thread(() -> {
            while (true) {
                if (!some()) {
                    System.out.println("moves: contents WRONG");
                }
                LockSupport.parkNanos(100_000);
            }
        }, "moving");
        thread.setDaemon(true);
        thread.start();
    }
}
