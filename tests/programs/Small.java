// SPDX-License-Identifier: MIT
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;

/**
 * A JVM that starts, collects, and ends: byte arrays that grow, and memory outside of the heap.
 * Prints a checksum, then "done", and waits for a line.
 */
public final class Small {
    public static void main(String[] arguments) throws Exception {
        List<ByteArrayOutputStream> arrays = new ArrayList<>();
        for (int i = 0; i < 50; i++)
            arrays.add(new ByteArrayOutputStream());
        for (int step = 0; step < 3000; step++) {
            int i = step * 37 % arrays.size();
            byte[] piece = new byte[512 + step];
            java.util.Arrays.fill(piece, (byte) (step + i));
            arrays.get(i).write(piece);
        }
        List<ByteBuffer> buffers = new ArrayList<>();
        for (int i = 0; i < 20; i++)
            buffers.add(ByteBuffer.allocateDirect(300000).putInt(1000 * i, i));
        System.gc();
        CRC32 sum = new CRC32();
        for (ByteArrayOutputStream array : arrays)
            sum.update(array.toByteArray());
        for (ByteBuffer buffer : buffers)
            sum.update(buffer.rewind());
        System.out.println("checksum=" + sum.getValue());
        System.out.println("done");
        System.in.read();
    }
}
