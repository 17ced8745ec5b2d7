/* SPDX-License-Identifier: MIT */
/*
 * The native part of the JVM tests: moves memory, so that the library is at work inside the JVM,
 * uses JNI in the ways that -Xcheck:jni watches, and crashes when told to.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "Moves.h"

enum { PIECES = 8 };

static bool holds(const char *address, size_t length, char value)
{
    for (size_t i = 0; i < length; i++)
        if (address[i] != value)
            return false;
    return true;
}

/* Pieces that lie in one order are moved into the opposite one; true if all arrived whole. */
jboolean Java_Moves_some(JNIEnv *env, jclass type)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t piece = 4 * page;
    size_t half = PIECES * piece;
    char *from = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to;
    bool right = true;

    (void)env;
    (void)type;
    if (from == MAP_FAILED)
        return JNI_FALSE;
    to = from + half;
    /* The sources stay mapped, so that no other thread's mapping can come to lie in between. */
    for (size_t i = 0; i < PIECES; i++)
        memset(from + i * piece, (char)('a' + i), piece);
    for (size_t i = 0; i < PIECES; i++) {
        char *target = to + (PIECES - 1 - i) * piece;

        right &= mremap(from + i * piece, piece, piece,
                        MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, target) == target;
    }
    for (size_t i = 0; right && i < PIECES; i++)
        right &= holds(to + i * piece, piece, (char)('a' + PIECES - 1 - i));
    return munmap(from, 2 * half) == 0 && right;
}

/* Calls back, throws, and has a critical array in its hands; the result says what it saw. */
jint Java_Moves_exercise(JNIEnv *env, jclass type, jintArray array, jstring text)
{
    jmethodID back = (*env)->GetStaticMethodID(env, type, "back", "(I)I");
    jsize length = (*env)->GetArrayLength(env, array);
    const char *chars;
    jint *elements;
    jint sum = 0;

    if (!back)
        return -1;
    chars = (*env)->GetStringUTFChars(env, text, NULL);
    if (!chars)
        return -1;
    sum += (jint)strlen(chars);
    (*env)->ReleaseStringUTFChars(env, text, chars);

    elements = (*env)->GetPrimitiveArrayCritical(env, array, NULL);
    if (!elements)
        return -1;
    for (jsize i = 0; i < length; i++)
        sum += elements[i]++;
    (*env)->ReleasePrimitiveArrayCritical(env, array, elements, 0);

    sum += (*env)->CallStaticIntMethod(env, type, back, length);
    if ((*env)->ExceptionCheck(env))
        (*env)->ExceptionClear(env);
    (*env)->CallStaticIntMethod(env, type, back, -1); /* throws, and is handed on */
    return sum;
}

void Java_Moves_crash(JNIEnv *env, jclass type)
{
    volatile uintptr_t nowhere = 8; /* volatile: the compiler is not to know */

    (void)env;
    (void)type;
    *(volatile int *)nowhere = 1;
}
