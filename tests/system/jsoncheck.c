/* SPDX-License-Identifier: MIT */
/*
 * jsoncheck array|object|lines|pid=N KEY[=VALUE]...: stdin is valid JSON of that form (lines: one
 * object for each line; pid=N: an array, of which the object with that pid counts), and each object
 * in it has these keys (with this value). Exit status 0 or 1.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_object(const json_t *object, int count, char **keys)
{
    if (!json_is_object(object)) {
        fprintf(stderr, "jsoncheck: not an object\n");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char key[128];
        char text[64] = "";
        const char *want = strchr(keys[i], '=');
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(keys[i], "="), keys[i]);
        const json_t *value = json_object_get(object, key);
        if (!value) {
            fprintf(stderr, "jsoncheck: no key %s\n", key);
            return 1;
        }
        if (json_is_integer(value)) {
            snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
        }
        const char *got = json_is_string(value) ? json_string_value(value) : text;
        if (want && strcmp(got, want + 1) != 0) {
            fprintf(stderr, "jsoncheck: %s is '%s', not '%s'\n", key, got, want + 1);
            return 1;
        }
    }
    return 0;
}

static int check_array(const json_t *array, const char *form, int count, char **keys)
{
    bool all = strcmp(form, "array") == 0;
    long long pid = all ? 0 : strtoll(form + 4, NULL, 10);
    bool found = all;
    int bad = !json_is_array(array);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *element = json_array_get(array, i);
        if (all || json_integer_value(json_object_get(element, "pid")) == pid) {
            bad |= check_object(element, count, keys);
            found = true;
        }
    }
    if (!found) {
        fprintf(stderr, "jsoncheck: no object with %s\n", form);
    }
    return bad || !found;
}

int main(int argc, char **argv)
{
    json_error_t error;
    int bad = 0;
    size_t seen = 0;
    if (argc < 2) {
        return 2;
    }
    bool lines = strcmp(argv[1], "lines") == 0;
    for (;;) {
        json_t *value = json_loadf(stdin, lines ? JSON_DISABLE_EOF_CHECK : 0, &error);
        if (!value) {
            if (lines && seen > 0 && feof(stdin)) {
                return bad;
            }
            fprintf(stderr, "jsoncheck: line %d: %s\n", error.line, error.text);
            return 1;
        }
        seen++;
        if (strcmp(argv[1], "array") == 0 || strncmp(argv[1], "pid=", 4) == 0) {
            bad |= check_array(value, argv[1], argc - 2, argv + 2);
        } else {
            bad |= check_object(value, argc - 2, argv + 2);
        }
        json_decref(value);
        if (!lines) {
            return bad;
        }
    }
}
