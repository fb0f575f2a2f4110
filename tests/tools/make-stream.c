/* make-stream [-n]: lines of JSON on standard input to a stream on standard output, for tests. It shares no
 * code with the stream library. A line is a record or a control object; after the last comes the end object,
 * unless -n.
 *
 * {"f4": [[1, 2], [3, 4]]} is a tensor (also u1, i4, i8, f8), {"f4": [], "shape": [0, 3]} one whose shape is
 * said,
 * {"bin": "text"} and {"hex": "ffd8"} are bytes; numbers, strings, true, false, null, lists and other objects
 * are themselves. In tensors "NaN" and "Infinity" are numbers. */
#include <json-c/json.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static msgpack_packer packer;

static int write_stdout(void *context, const char *data, size_t size)
{
    (void)context;
    return fwrite(data, 1, size, stdout) == size ? 0 : -1;
}

static void die(const char *why)
{
    fprintf(stderr, "make-stream: %s\n", why);
    exit(1);
}

static void pack_str(const char *text)
{
    msgpack_pack_str_with_body(&packer, text, strlen(text));
}

static void pack_bin(const void *data, size_t size)
{
    msgpack_pack_bin_with_body(&packer, data, size);
}

static size_t put_number(char *out, const char *type, struct json_object *value)
{
    const char *text = json_object_get_string(value);
    double x =
        json_object_is_type(value, json_type_string) ? strtod(text, NULL) : json_object_get_double(value);
    if (strcmp(type, "f4") == 0)
        return memcpy(out, &(float){(float)x}, 4), 4;
    if (strcmp(type, "f8") == 0)
        return memcpy(out, &x, 8), 8;
    if (strcmp(type, "i8") == 0)
        return memcpy(out, &(int64_t){json_object_get_int64(value)}, 8), 8;
    if (strcmp(type, "i4") == 0)
        return memcpy(out, &(int32_t){(int32_t)x}, 4), 4;
    if (strcmp(type, "u1") == 0)
        return *out = (char)(unsigned char)x, 1;
    die("a tensor of an unknown type");
    return 0;
}

static size_t put_numbers(char *out, const char *type, struct json_object *value)
{
    size_t size = 0;
    if (!json_object_is_type(value, json_type_array))
        return put_number(out, type, value);
    for (size_t i = 0; i < json_object_array_length(value); i++)
        size += put_numbers(out + size, type, json_object_array_get_idx(value, i));
    return size;
}

static void pack_tensor(const char *type, struct json_object *values, struct json_object *shape)
{
    static char data[1 << 22];
    size_t ndim = 0, sizes[32];
    struct json_object *inner = values;
    for (; shape && ndim < json_object_array_length(shape); ndim++)
        sizes[ndim] = (size_t)json_object_get_int64(json_object_array_get_idx(shape, ndim));
    for (; !shape && json_object_is_type(inner, json_type_array); inner = json_object_array_get_idx(inner, 0))
        sizes[ndim++] = json_object_array_length(inner);
    char name[4] = {strcmp(type, "u1") == 0 ? '|' : '<', type[0], type[1], 0};
    msgpack_pack_map(&packer, 5);
    pack_bin("nd", 2), msgpack_pack_true(&packer);
    pack_bin("type", 4), pack_str(name);
    pack_bin("kind", 4), pack_bin("", 0);
    pack_bin("shape", 5), msgpack_pack_array(&packer, ndim);
    for (size_t i = 0; i < ndim; i++)
        msgpack_pack_uint64(&packer, sizes[i]);
    pack_bin("data", 4), pack_bin(data, put_numbers(data, type, values));
}

static void pack_hex(const char *text)
{
    static char data[1 << 16];
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size && i < sizeof data; i++)
        data[i] = (char)strtoul((char[]){text[2 * i], text[2 * i + 1], 0}, NULL, 16);
    pack_bin(data, size);
}

static void pack(struct json_object *value);

static void pack_object(struct json_object *object)
{
    static const char *const types[] = {"f4", "f8", "i4", "i8", "u1"};
    struct json_object *inner;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (json_object_object_get_ex(object, types[i], &inner)) {
            pack_tensor(types[i], inner, json_object_object_get(object, "shape"));
            return;
        }
    if (json_object_object_get_ex(object, "bin", &inner)) {
        pack_bin(json_object_get_string(inner), (size_t)json_object_get_string_len(inner));
    } else if (json_object_object_get_ex(object, "hex", &inner)) {
        pack_hex(json_object_get_string(inner));
    } else {
        msgpack_pack_map(&packer, (size_t)json_object_object_length(object));
        json_object_object_foreach(object, name, entry)
        {
            pack_str(name);
            pack(entry);
        }
    }
}

static void pack(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        msgpack_pack_nil(&packer);
        break;
    case json_type_boolean:
        json_object_get_boolean(value) ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer);
        break;
    case json_type_int:
        msgpack_pack_int64(&packer, json_object_get_int64(value));
        break;
    case json_type_double:
        msgpack_pack_double(&packer, json_object_get_double(value));
        break;
    case json_type_string:
        msgpack_pack_str_with_body(&packer, json_object_get_string(value),
                                   (size_t)json_object_get_string_len(value));
        break;
    case json_type_array:
        msgpack_pack_array(&packer, json_object_array_length(value));
        for (size_t i = 0; i < json_object_array_length(value); i++)
            pack(json_object_array_get_idx(value, i));
        break;
    case json_type_object:
        pack_object(value);
    }
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    uint64_t records = 0;
    int end = !(argc > 1 && strcmp(argv[1], "-n") == 0);
    msgpack_packer_init(&packer, NULL, write_stdout);
    while (getline(&line, &room, stdin) > 0) {
        struct json_object *object = json_tokener_parse(line);
        if (!json_object_is_type(object, json_type_object))
            die("a line that is no JSON object");
        records += json_object_object_get_ex(object, "__key__", NULL);
        pack_object(object);
        json_object_put(object);
    }
    free(line);
    if (end) {
        msgpack_pack_map(&packer, 1);
        pack_str("__end__");
        msgpack_pack_uint64(&packer, records);
    }
    return fclose(stdout) != 0;
}
