// SPDX-License-Identifier: MIT
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import sun.misc.Signal;

/**
 * A process that others look at and send signals to. It does what the lines of its standard input
 * say and answers each with a line; it ends when there are no more.
 */
public final class Waiting {
    private static final List<Object> kept = new ArrayList<>();

    private Waiting() {
    }

    private static void answer(String text) {
        System.out.println(text);
        System.out.flush();
    }

    private static String work(int megabytes) {
        for (int i = 0; i < megabytes; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
            buffer.put(0, (byte) i);
            kept.add(buffer);
        }
        return "worked";
    }

    public static void main(String[] arguments) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> answer("hook")));
        Signal.handle(new Signal("USR2"), signal -> answer("signal " + signal.getName()));
        Moves.keepMoving();
        answer("up");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null;) {
            switch (line) {
                case "work" -> answer(work(16));
                case "crash" -> Moves.crash();
                default -> answer("what? " + line);
            }
        }
    }
}
