// SPDX-License-Identifier: MIT
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What a relocating collector does, inside a JVM: objects of some pages live in a reserved range.
 * In each cycle some die and new ones are born, and the live objects of regions with much garbage
 * are moved together with mremap(), by several threads. All the while other threads read and write
 * objects, through the barrier of Handles, and check every word.
 *
 * <p>Prints key=value pairs on one line. Exit status: 0 right, 2 usage, 3 a call failed (with plain
 * mremap(): vm.max_map_count), 4 wrong contents.
 */
public final class Compaction {
    private static final long RANGE_LIMIT = Integer.MAX_VALUE; // of a ByteBuffer

    private int objects = 12000;
    private int pages = 8;
    private int movers = 2;
    private int mutators = 2;
    private int seconds = 6;

    private final SplittableRandom random = new SplittableRandom(1);
    private Handles handles;
    private Regions regions;
    private Contents contents;
    private volatile boolean stop;
    private long nextId = 1;

    private final AtomicLong reads = new AtomicLong();
    private final AtomicLong writes = new AtomicLong();
    private final AtomicLong moves = new AtomicLong();
    private final AtomicLong moveNanos = new AtomicLong();
    private final AtomicLong longestMove = new AtomicLong();
    private final AtomicLong longestHeld = new AtomicLong();
    private long longestCycle;

    // ---- life and death ----

    private void buryOneIn(int chance) {
        for (int object = 0; object < objects; object++) {
            if (random.nextInt(chance) == 0) {
                handles.take(object);
                handles.length[object] = 0;
                handles.give(object);
            }
        }
    }

    private Regions.Region eden() {
        Regions.Region eden = regions.obtain();
        Heap.commit(eden.base + Regions.START, Regions.BYTES - Regions.START);
        return eden;
    }

    /** New objects for all handles that are not in use. */
    private void giveBirth() {
        Regions.Region eden = eden();
        for (int object = 0; object < objects; object++) {
            if (handles.length[object] != 0) {
                continue;
            }
            long length = (1 + random.nextInt(pages)) * Regions.PAGE;
            if (!eden.fits(length)) {
                eden = eden();
            }
            handles.take(object);
            handles.offset[object] = eden.append(object, length);
            handles.length[object] = length;
            handles.id[object] = nextId++;
            handles.version[object] = 0;
            contents.fill(object);
            handles.give(object);
        }
    }

    // ---- moving ----

    private boolean livesIn(Regions.Region region, int object) {
        return handles.length[object] != 0 && region.holds(handles.offset[object]);
    }

    /** Less than three quarters of it are live. */
    private boolean isSparse(Regions.Region region) {
        long live = 0;
        for (int object : region.objects) {
            if (livesIn(region, object)) {
                live += handles.length[object];
            }
        }
        return live < Regions.BYTES / 4 * 3;
    }

    /** The body of a mover: empties one region after the other into regions of its own. */
    private void evacuate(Queue<Regions.Region> sparse) {
        Regions.Region target = regions.obtain();
        for (Regions.Region source; (source = sparse.poll()) != null;) {
            for (int object : source.objects) {
                if (!livesIn(source, object)) {
                    continue;
                }
                if (!target.fits(handles.length[object])) {
                    target = regions.obtain();
                }
                move(object, target);
            }
            regions.release(source);
        }
    }

    private void move(int object, Regions.Region target) {
        handles.take(object);
        long started = System.nanoTime();
        long length = handles.length[object];
        long to = target.append(object, length);
        long nanos = Heap.move(handles.offset[object], to, length);
        handles.offset[object] = to;
        handles.give(object);
        longestHeld.accumulateAndGet(System.nanoTime() - started, Math::max);
        longestMove.accumulateAndGet(nanos, Math::max);
        moveNanos.addAndGet(nanos);
        moves.incrementAndGet();
    }

    private void compact() throws InterruptedException {
        Queue<Regions.Region> sparse = new ConcurrentLinkedQueue<>();
        for (Regions.Region region : regions.used()) {
            if (isSparse(region)) {
                sparse.add(region);
            }
        }
        long started = System.nanoTime();
        List<Thread> threads = start("mover", movers, number -> evacuate(sparse));
        for (Thread thread : threads) {
            thread.join();
        }
        longestCycle = Math.max(longestCycle, System.nanoTime() - started);
    }

    // ---- the program whose memory it is ----

    private void mutate(int number) {
        SplittableRandom choice = new SplittableRandom(1000 + number);
        while (!stop) {
            int object = choice.nextInt(objects);
            if (choice.nextInt(4) != 0) {
                if (contents.check(object)) {
                    reads.incrementAndGet();
                }
                continue;
            }
            handles.take(object);
            if (handles.length[object] != 0) {
                contents.stamp(object);
                writes.incrementAndGet();
            }
            handles.give(object);
        }
    }

    // ---- threads, command line, report ----

    private interface Body {
        void run(int number);
    }

    private static List<Thread> start(String name, int count, Body body) {
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int number = i;
            Thread thread = new Thread(() -> body.run(number), name + "-" + i);
            thread.setUncaughtExceptionHandler((t, failure) -> die(failure));
            thread.start();
            threads.add(thread);
        }
        return threads;
    }

    /** No thread waits for one that has failed with an object in its hands. */
    private static void die(Throwable failure) {
        System.out.println("died: " + failure.getMessage());
        System.out.flush();
        Runtime.getRuntime().halt(3);
    }

    private static void usage() {
        System.err.println("usage: Compaction [--objects N] [--pages N] [--movers N] [--mutators N]"
                + " [--seconds N]\n  --pages N  the largest object; they have 1 to N pages");
        System.exit(2);
    }

    private void parse(String[] arguments) {
        for (int i = 0; i < arguments.length; i += 2) {
            String text = i + 1 < arguments.length ? arguments[i + 1] : "";
            if (!text.matches("[1-9][0-9]{0,5}")) {
                usage();
            }
            int value = Integer.parseInt(text);
            switch (arguments[i]) {
                case "--objects" -> objects = value;
                case "--pages" -> pages = Math.min(value, 256);
                case "--movers" -> movers = value;
                case "--mutators" -> mutators = value;
                case "--seconds" -> seconds = value;
                default -> usage();
            }
        }
    }

    private void reserve() {
        // Four times what is live: garbage, regions that are partly filled, and room to move to.
        long live = objects * (pages + 1L) / 2 * Regions.PAGE;
        long count = 4 * (live / Regions.BYTES + 1) + 2L * movers;
        if (count * Regions.BYTES > RANGE_LIMIT) {
            System.err.printf("Compaction: %d MiB of live objects are too many: at most about %d%n",
                    live >> 20, RANGE_LIMIT / 4 >> 20);
            System.exit(2);
        }
        ByteBuffer range = Heap.reserve(count * Regions.BYTES);
        regions = new Regions((int) count);
        handles = new Handles(objects);
        contents = new Contents(range.order(ByteOrder.nativeOrder()).asLongBuffer(), handles);
    }

    private void run() throws InterruptedException {
        reserve();
        giveBirth();
        List<Thread> threads = start("mutator", mutators, this::mutate);
        long started = System.nanoTime();
        int cycles = 0;
        do {
            buryOneIn(3);
            compact();
            giveBirth();
            cycles++;
        } while (System.nanoTime() - started < seconds * 1_000_000_000L);
        stop = true;
        for (Thread thread : threads) {
            thread.join();
        }
        for (int object = 0; object < objects; object++) {
            contents.check(object);
        }
        report(cycles, System.nanoTime() - started);
    }

    private void report(int cycles, long nanos) {
        long collections = 0;
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            collections += bean.getCollectionCount();
        }
        System.out.printf("cycles=%d objects=%d moves=%d seconds=%.1f move_us=%.1f", cycles,
                objects, moves.get(), nanos / 1e9,
                moveNanos.get() / 1e3 / Math.max(moves.get(), 1));
        System.out.printf(" longest_move_us=%d longest_held_us=%d longest_cycle_ms=%d",
                longestMove.get() / 1000, longestHeld.get() / 1000, longestCycle / 1_000_000);
        System.out.printf(" reads=%d writes=%d collections=%d errors=%d %s%n", reads.get(),
                writes.get(), collections, Contents.errors.get(), Heap.figures());
    }

    public static void main(String[] arguments) throws InterruptedException {
        Compaction compaction = new Compaction();
        compaction.parse(arguments);
        try {
            compaction.run();
        } catch (IllegalStateException failure) {
            die(failure);
        }
        System.exit(Contents.errors.get() == 0 ? 0 : 4);
    }
}
