// SPDX-License-Identifier: MIT
import java.util.ArrayList;
import java.util.List;

/** Keeps everything, until there is no more room. */
public final class OutOfMemory {
    private OutOfMemory() {
    }

    public static void main(String[] arguments) {
        Moves.keepMoving();
        List<byte[]> kept = new ArrayList<>();
        while (true) {
            kept.add(new byte[100_000]);
        }
    }
}
