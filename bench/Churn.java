// SPDX-License-Identifier: MIT
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A program that does little but allocate: small objects, strings, arrays that grow, maps; most of
 * it dies young, some is kept for a while. Prints how many rounds it did in a second, and in one of
 * processor time (the collector's included), warm-up left out.
 *
 * <p>usage: Churn SECONDS
 */
public final class Churn {
    private static final int KEPT = 2000;

    private Churn() {
    }

    private static Object round(int number) {
        Map<String, List<Integer>> map = new HashMap<>();
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 40; i++) {
            String key = "key" + (number + i) % 16;
            List<Integer> list = map.computeIfAbsent(key, unused -> new ArrayList<>());
            for (int k = 0; k < 10; k++) {
                list.add(number * 1000 + k);
            }
            text.append(list.size()).append(' ');
        }
        byte[] block = new byte[1024 + (number & 7) * 2048];
        block[number & 1023] = (byte) text.length();
        return number % 3 == 0 ? map : block;
    }

    private static long rounds(Object[] kept, long nanos) {
        long until = System.nanoTime() + nanos;
        long done = 0;
        while (System.nanoTime() - until < 0) {
            for (int i = 0; i < 50; i++, done++) {
                kept[(int) (done % KEPT)] = round((int) done);
            }
        }
        return done;
    }

    public static void main(String[] arguments) {
        double seconds = Double.parseDouble(arguments[0]);
        Object[] kept = new Object[KEPT];
        rounds(kept, 1_000_000_000L);
        var process = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        long cpu = process.getProcessCpuTime();
        long started = System.nanoTime();
        long done = rounds(kept, (long) (seconds * 1e9));
        double elapsed = (System.nanoTime() - started) / 1e9;
        System.out.printf("%.0f %.0f%n", done / elapsed,
                done / ((process.getProcessCpuTime() - cpu) / 1e9));
    }
}
