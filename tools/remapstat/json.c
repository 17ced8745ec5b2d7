/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <inttypes.h>
#include <string.h>

#include "columns.h"
#include "display.h"

static json_t *checked(json_t *value)
{
    if (!value)
        out_of_memory();
    return value;
}

json_t *json_new_object(void)
{
    return checked(json_object());
}

json_t *json_new_array(void)
{
    return checked(json_array());
}

void json_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, checked(value)) != 0)
        out_of_memory();
}

void json_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, checked(value)) != 0)
        out_of_memory();
}

json_t *json_number(uint64_t n)
{
    return checked(json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

json_t *json_text(const char *raw)
{
    char escaped[1024];

    return checked(json_string(display_escape(escaped, sizeof(escaped), raw)));
}

json_t *json_identity(uint64_t n)
{
    char text[DISPLAY_UNIT];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    return checked(json_string(text));
}

json_t *json_process(const struct view *v, const struct selection *s)
{
    json_t *object = json_new_object();

    for (size_t i = 0; i < s->count; i++) {
        struct value value;
        json_t *item;
        column_value(&value, v, (enum process_column)s->index[i]);
        if (!value.known)
            item = json_null();
        else if (value.kind == VALUE_TEXT)
            item = json_string(value.text);
        else if (value.kind == VALUE_IDENTITY)
            item = json_identity(value.number);
        else
            item = json_number(value.number);
        json_set(object, process_columns[s->index[i]].key, item);
    }
    return object;
}

void json_print(FILE *stream, json_t *document, bool one_line)
{
    json_dumpf(document, stream, one_line ? JSON_COMPACT : JSON_INDENT(2));
    fputc('\n', stream);
    fflush(stream);
    json_decref(document);
}
