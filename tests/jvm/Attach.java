// SPDX-License-Identifier: MIT
import com.sun.tools.attach.VirtualMachine;

/** Looks at another JVM through the attach API. */
public final class Attach {
    private Attach() {
    }

    public static void main(String[] arguments) throws Exception {
        VirtualMachine other = VirtualMachine.attach(arguments[0]);
        System.out.println(other.getSystemProperties().getProperty("remap.test"));
        System.out.println(other.startLocalManagementAgent().startsWith("service:jmx:"));
        other.detach();
    }
}
