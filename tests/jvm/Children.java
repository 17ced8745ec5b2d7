// SPDX-License-Identifier: MIT
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Starts the command in its arguments several times, from several threads; prints what it said. */
public final class Children {
    private Children() {
    }

    private static String run(String[] command) {
        try {
            Process child = new ProcessBuilder(command).redirectErrorStream(true).start();
            child.getOutputStream().close();
            String said = new String(child.getInputStream().readAllBytes()).strip();
            return child.waitFor(20, TimeUnit.SECONDS) ? said + " status " + child.exitValue()
                    : "does not end";
        } catch (IOException | InterruptedException failure) {
            return failure.toString();
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        Moves.keepMoving();
        List<Thread> threads = new ArrayList<>();
        String[] said = new String[12];
        for (int i = 0; i < 3; i++) {
            int first = i * 4;
            Thread thread = new Thread(() -> {
                for (int child = first; child < first + 4; child++) {
                    said[child] = run(arguments);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        for (String line : said) {
            System.out.println(line);
        }
    }
}
