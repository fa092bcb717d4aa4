package org.apache.dubbo.sample;

import java.util.Map;

/** An interface without IDL: its parameters are Java's own, which Triple wraps. */
public interface Plain {
    String greet(String name);

    long add(long left, long right);

    Map<String, Object> person(Map<String, Object> given);

    /** Throws an IllegalStateException with that message. */
    String refuse(String message);
}
