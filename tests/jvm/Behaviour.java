// SPDX-License-Identifier: MIT
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/**
 * What a JVM does with signals, guard pages, threads and mappings, while one of its threads moves
 * memory. What is printed is the same in every run.
 */
public final class Behaviour {
    private static Object sink;
    private static int depth;
    private static int zero;

    private Behaviour() {
    }

    private static final class Box {
        int value = 1;
        Box next;
    }

    /** Compiled code does not test for null: the access faults, the handler makes the exception. */
    private static String nullPointers() {
        Box[] boxes = {new Box(), null};
        int caught = 0;
        long sum = 0;
        for (int i = 0; i < 200_000; i++) {
            try {
                sum += boxes[i % 1000 == 0 ? 1 : 0].value;
            } catch (NullPointerException expected) {
                caught++;
            }
        }
        return sum + " " + caught;
    }

    private static String divisions() {
        int caught = 0;
        for (int i = 0; i < 20_000; i++) {
            try {
                depth = i / (i % 100 == 0 ? zero : 1);
            } catch (ArithmeticException expected) {
                caught++;
            }
        }
        return "" + caught;
    }

    private static int recurse(int level) {
        return 1 + recurse(level + 1);
    }

    /** In the main thread and in others: each has guard pages of its own. */
    private static String overflows() throws InterruptedException {
        int[] caught = {0};
        Runnable overflow = () -> {
            for (int i = 0; i < 3; i++) {
                try {
                    recurse(0);
                } catch (StackOverflowError expected) {
                    synchronized (caught) {
                        caught[0]++;
                    }
                }
            }
        };
        overflow.run();
        Thread[] threads = {new Thread(null, overflow, "a", 256 << 10), new Thread(overflow, "b")};
        for (Thread thread : threads) {
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return "" + caught[0];
    }

    private static String allocation() {
        Map<Integer, byte[]> kept = new HashMap<>();
        long sum = 0;
        for (int i = 0; i < 60_000; i++) {
            byte[] block = new byte[64 + i % 4096];
            block[i % 64] = (byte) i;
            kept.put(i % 500, block);
        }
        for (byte[] block : kept.values()) {
            sum += block.length;
        }
        return "" + sum;
    }

    private static String threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> results = new ArrayList<>();
        long sum = 0;
        for (int i = 0; i < 200; i++) {
            int number = i;
            results.add(pool.submit(
                    () -> IntStream.range(0, 10_000).mapToLong(x -> x ^ number).sum()));
        }
        for (Future<Long> result : results) {
            sum += result.get();
        }
        pool.shutdown();
        for (int i = 0; i < 200; i++) {
            Thread thread = new Thread(() -> sink = new byte[1000]);
            thread.start();
            thread.join();
        }
        return "" + sum;
    }

    /** Safepoints, with threads in loops that have to be stopped. */
    private static String safepoints() throws InterruptedException {
        boolean[] stop = {false};
        Thread[] busy = new Thread[3];
        for (int i = 0; i < busy.length; i++) {
            busy[i] = new Thread(() -> {
                while (true) {
                    synchronized (stop) {
                        if (stop[0]) {
                            return;
                        }
                    }
                    sink = new int[100];
                }
            });
            busy[i].start();
        }
        for (int i = 0; i < 5; i++) {
            System.gc();
        }
        synchronized (stop) {
            stop[0] = true;
        }
        for (Thread thread : busy) {
            thread.join();
        }
        return "5";
    }

    private static String directBuffers() {
        long sum = 0;
        for (int i = 0; i < 50; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
            for (int at = 0; at < buffer.capacity(); at += 4096) {
                buffer.put(at, (byte) (at >> 12));
            }
            for (int at = 0; at < buffer.capacity(); at += 4096) {
                sum += buffer.get(at);
            }
        }
        return "" + sum;
    }

    private static String mappedFile(Path directory) throws IOException {
        Path path = directory.resolve("mapped");
        long sum = 0;
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE,
                StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4 << 20);
            for (int i = 0; i < map.capacity(); i += 8) {
                map.putLong(i, i);
            }
            map.force();
            ByteBuffer read = ByteBuffer.allocate(4 << 20);
            channel.read(read, 0);
            for (int i = 0; i < read.capacity(); i += 8) {
                sum += read.getLong(i);
            }
        }
        Files.delete(path);
        return "" + sum;
    }

    private static String strings() {
        StringBuilder builder = new StringBuilder();
        for (int i = 0; i < 500_000; i++) {
            builder.append(i).append(',');
        }
        return builder.length() + " " + builder.toString().hashCode();
    }

    private static String jni() {
        int[] array = IntStream.range(0, 1000).toArray();
        long sum = 0;
        for (int i = 0; i < 100; i++) {
            try {
                Moves.exercise(array, "text");
                return "no exception";
            } catch (IllegalArgumentException expected) {
                sum += array[i] + expected.getMessage().length();
            }
        }
        return sum + " " + Moves.some();
    }

    public static void main(String[] arguments) throws Exception {
        Moves.keepMoving();
        for (int round = 0; round < 2; round++) {
            System.out.println("allocation " + allocation());
            System.out.println("null pointers " + nullPointers());
            System.out.println("divisions " + divisions());
            System.out.println("overflows " + overflows());
            System.out.println("threads " + threads());
            System.out.println("safepoints " + safepoints());
            System.out.println("direct buffers " + directBuffers());
            System.out.println("mapped file " + mappedFile(Path.of(arguments[0])));
            System.out.println("strings " + strings());
            System.out.println("jni " + jni());
        }
        System.exit(7);
    }
}
