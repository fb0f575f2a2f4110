/* Opcodes as in Python's pickletools; globals as in torch/_utils.py and torch/jit/_pickle.py. */
#include "model/pickle.h"
#include "base/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any model's file holds; a hostile file costs at most about 60 MB. */
enum { MAX_VALUES = 1 << 19, MAX_TENSORS = 1 << 16 };

enum {
    OP_PROTO = 0x80,
    OP_MARK = '(',
    OP_STOP = '.',
    OP_NONE = 'N',
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_LONG1 = 0x8a,
    OP_BINFLOAT = 'G',
    OP_BINUNICODE = 'X',
    OP_EMPTY_TUPLE = ')',
    OP_TUPLE = 't',
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_LONG4 = 0x8b,
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_APPENDS = 'e',
    OP_EMPTY_DICT = '}',
    OP_SETITEM = 's',
    OP_SETITEMS = 'u',
    OP_GLOBAL = 'c',
    OP_REDUCE = 'R',
    OP_NEWOBJ = 0x81,
    OP_BUILD = 'b',
    OP_BINPERSID = 'Q',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j'
};

enum global {
    GLOBAL_TENSOR,   /* _rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks, metadata?) */
    GLOBAL_TENSOR_3, /* _rebuild_tensor_v3: the same with the dtype before metadata */
    GLOBAL_PARAMETER,  /* _rebuild_parameter(tensor, requires_grad, hooks[, state]) */
    GLOBAL_FROM_TYPE,  /* _rebuild_from_type_v2(function, type, arguments, state) */
    GLOBAL_DICT,       /* OrderedDict() */
    GLOBAL_TYPED_LIST, /* build_intlist(list) and its like */
    GLOBAL_TAG,        /* restore_type_tag(value, type) */
    GLOBAL_STORAGE,    /* a storage class: of an element type, or of bytes */
    GLOBAL_DTYPE,
    GLOBAL_MODULE, /* a class of the archive's own */
    GLOBAL_OTHER   /* unknown: it makes objects */
};

static const struct {
    const char *module, *name;
    enum global global;
    enum clip_weight_type type;
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", GLOBAL_TENSOR_3, 0},
    {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", GLOBAL_PARAMETER, 0},
    {"torch._tensor", "_rebuild_from_type_v2", GLOBAL_FROM_TYPE, 0},
    {"collections", "OrderedDict", GLOBAL_DICT, 0},
    {"torch.jit._pickle", "build_tensorlist", GLOBAL_TYPED_LIST, 0},
    {"torch.jit._pickle", "build_intlist", GLOBAL_TYPED_LIST, 0},
    {"torch.jit._pickle", "build_doublelist", GLOBAL_TYPED_LIST, 0},
    {"torch.jit._pickle", "build_boollist", GLOBAL_TYPED_LIST, 0},
    {"torch.jit._pickle", "restore_type_tag", GLOBAL_TAG, 0},
    {"torch", "DoubleStorage", GLOBAL_STORAGE, CLIP_WEIGHT_F64},
    {"torch", "FloatStorage", GLOBAL_STORAGE, CLIP_WEIGHT_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE, CLIP_WEIGHT_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE, CLIP_WEIGHT_BF16},
    {"torch", "LongStorage", GLOBAL_STORAGE, CLIP_WEIGHT_I64},
    {"torch", "IntStorage", GLOBAL_STORAGE, CLIP_WEIGHT_I32},
    {"torch", "ShortStorage", GLOBAL_STORAGE, CLIP_WEIGHT_I16},
    {"torch", "CharStorage", GLOBAL_STORAGE, CLIP_WEIGHT_I8},
    {"torch", "ByteStorage", GLOBAL_STORAGE, CLIP_WEIGHT_U8},
    {"torch", "BoolStorage", GLOBAL_STORAGE, CLIP_WEIGHT_BOOL},
    {"torch.storage", "UntypedStorage", GLOBAL_STORAGE, CLIP_WEIGHT_TYPES},
    {"torch", "float64", GLOBAL_DTYPE, CLIP_WEIGHT_F64},
    {"torch", "float32", GLOBAL_DTYPE, CLIP_WEIGHT_F32},
    {"torch", "float16", GLOBAL_DTYPE, CLIP_WEIGHT_F16},
    {"torch", "bfloat16", GLOBAL_DTYPE, CLIP_WEIGHT_BF16},
    {"torch", "int64", GLOBAL_DTYPE, CLIP_WEIGHT_I64},
    {"torch", "int32", GLOBAL_DTYPE, CLIP_WEIGHT_I32},
    {"torch", "int16", GLOBAL_DTYPE, CLIP_WEIGHT_I16},
    {"torch", "int8", GLOBAL_DTYPE, CLIP_WEIGHT_I8},
    {"torch", "uint8", GLOBAL_DTYPE, CLIP_WEIGHT_U8},
    {"torch", "bool", GLOBAL_DTYPE, CLIP_WEIGHT_BOOL},
};

/* Modules whose functions occur in pickles only to run code; of builtins, the types that are data. */
static const char *const refused_modules[] = {
    "os",     "posix", "nt",        "subprocess", "sys",      "pty",     "socket",
    "shutil", "runpy", "importlib", "ctypes",     "commands", "code",    "webbrowser",
    "pdb",    "bdb",   "timeit",    "cProfile",   "pickle",   "_pickle", "marshal"};
static const char *const builtin_types[] = {
    "set",   "frozenset", "list",           "dict",   "tuple", "bytearray", "bytes", "complex", "slice",
    "range", "xrange",    "object",         "int",    "long",  "float",     "bool",  "str",     "unicode",
    "type",  "Ellipsis",  "NotImplemented", "getattr"};

/* The state of the machine: the result so far, the stack with its marks, and the memo. */
struct machine {
    struct clip_pickle *pickle;
    const unsigned char *start, *p, *end;
    uint32_t *stack, *memo; /* values; MARK on the stack, NOTHING in the memo */
    size_t depth, stack_room, memo_room;
    struct clip_error *error;
};
enum { MARK = UINT32_MAX, NOTHING = UINT32_MAX };

static int bad(struct machine *machine, const char *what)
{
    clip_fail(machine->error, "pickle: %s at byte %zu", what, (size_t)(machine->p - machine->start));
    return -1;
}

/* Grows an array of at most `limit` elements by one. */
static int grow_array(struct machine *machine, void *array, size_t *room, size_t count, size_t limit,
                      size_t size)
{
    void **items = array;
    if (count < *room)
        return 0;
    if (count >= limit)
        return bad(machine, "more values than a model has");
    size_t more = *room ? 2 * *room : 256;
    void *new = reallocarray(*items, more < limit ? more : limit, size);
    if (!new)
        return clip_fail_memory(machine->error, "a pickle");
    *items = new;
    *room = more < limit ? more : limit;
    return 0;
}

static int starts_with(const char *text, size_t length, const char *start)
{
    return length >= strlen(start) && memcmp(text, start, strlen(start)) == 0;
}

static int same(const char *text, size_t length, const char *other)
{
    return length == strlen(other) && memcmp(text, other, length) == 0;
}

/* --- values, the stack and the memo --- */

static struct clip_pickle_value *value_at(const struct machine *machine, uint32_t index)
{
    return &machine->pickle->values[index];
}

static int push_index(struct machine *machine, uint32_t index)
{
    if (grow_array(machine, &machine->stack, &machine->stack_room, machine->depth, MAX_VALUES,
                   sizeof *machine->stack) != 0)
        return -1;
    machine->stack[machine->depth++] = index;
    return 0;
}

static int push_value(struct machine *machine, struct clip_pickle_value value)
{
    struct clip_pickle *pickle = machine->pickle;
    if (grow_array(machine, &pickle->values, &pickle->value_room, pickle->value_count, MAX_VALUES,
                   sizeof *pickle->values) != 0)
        return -1;
    pickle->values[pickle->value_count] = value;
    return push_index(machine, (uint32_t)pickle->value_count++);
}

static int push_integer(struct machine *machine, enum clip_pickle_kind kind, int64_t n)
{
    return push_value(machine, (struct clip_pickle_value){.kind = (uint8_t)kind, .integer = n});
}

static int push_items(struct machine *machine, enum clip_pickle_kind kind)
{
    return push_value(machine, (struct clip_pickle_value){
                                   .kind = (uint8_t)kind, .first = CLIP_PICKLE_END, .last = CLIP_PICKLE_END});
}

/* Pops the value on top; an error if the stack is empty or a mark is on top. */
static int pop(struct machine *machine, uint32_t *index)
{
    if (machine->depth == 0 || machine->stack[machine->depth - 1] == MARK)
        return bad(machine, "nothing on the stack");
    *index = machine->stack[--machine->depth];
    return 0;
}

/* As pop, but leaves it there. */
static int peek(struct machine *machine, uint32_t *index)
{
    if (pop(machine, index) != 0)
        return -1;
    machine->depth++;
    return 0;
}

/* The index on the stack of the first value after the last mark. */
static int find_mark(struct machine *machine, size_t *first)
{
    for (size_t i = machine->depth; i > 0; i--)
        if (machine->stack[i - 1] == MARK) {
            *first = i;
            return 0;
        }
    return bad(machine, "no mark on the stack");
}

/* Pops the value or mark on top; or everything down to the last mark, and the mark. */
static int drop(struct machine *machine, int to_mark)
{
    size_t first;
    if (to_mark && find_mark(machine, &first) != 0)
        return -1;
    if (machine->depth == 0)
        return bad(machine, "nothing on the stack");
    machine->depth = (to_mark ? first : machine->depth) - 1;
    return 0;
}

/* Adds a cell to the items of value `container`. */
static int append_item(struct machine *machine, uint32_t container, uint32_t item)
{
    struct clip_pickle *pickle = machine->pickle;
    if (grow_array(machine, &pickle->cells, &pickle->cell_room, pickle->cell_count, 2 * MAX_VALUES,
                   sizeof *pickle->cells) != 0)
        return -1;
    uint32_t cell = (uint32_t)pickle->cell_count++;
    struct clip_pickle_value *value = value_at(machine, container);
    pickle->cells[cell] = (struct clip_pickle_cell){item, CLIP_PICKLE_END};
    if (value->first == CLIP_PICKLE_END)
        value->first = cell;
    else
        pickle->cells[value->last].next = cell;
    value->last = cell;
    value->length++;
    return 0;
}

/* Moves the stack from `first` on into `container`. */
static int append_from(struct machine *machine, uint32_t container, size_t first)
{
    for (size_t i = first; i < machine->depth; i++)
        if (append_item(machine, container, machine->stack[i]) != 0)
            return -1;
    machine->depth = first;
    return 0;
}

static int put_memo(struct machine *machine, uint32_t slot)
{
    uint32_t index;
    size_t before = machine->memo_room;
    if (peek(machine, &index) != 0)
        return -1;
    if (slot >= MAX_VALUES)
        return bad(machine, "a memo number that is too large");
    while (machine->memo_room <= slot)
        if (grow_array(machine, &machine->memo, &machine->memo_room, machine->memo_room, MAX_VALUES,
                       sizeof *machine->memo) != 0)
            return -1;
    for (; before < machine->memo_room; before++)
        machine->memo[before] = NOTHING;
    machine->memo[slot] = index;
    return 0;
}

static int get_memo(struct machine *machine, uint32_t slot)
{
    if (slot >= machine->memo_room || machine->memo[slot] == NOTHING)
        return bad(machine, "a memo number that was not set");
    return push_index(machine, machine->memo[slot]);
}

/* --- bytes of the input --- */

/* The next n bytes; NULL with error if the input ends before. */
static const unsigned char *take_bytes(struct machine *machine, size_t n)
{
    if ((size_t)(machine->end - machine->p) < n) {
        bad(machine, "cut");
        return NULL;
    }
    machine->p += n;
    return machine->p - n;
}

/* An unsigned little-endian number of n bytes. */
static int take_number(struct machine *machine, size_t n, uint64_t *value)
{
    const unsigned char *p = take_bytes(machine, n);
    *value = 0;
    for (size_t i = 0; p && i < n; i++)
        *value |= (uint64_t)p[i] << 8 * i;
    return p ? 0 : -1;
}

/* The rest of the line. */
static int take_line(struct machine *machine, const char **line, size_t *length)
{
    size_t left = (size_t)(machine->end - machine->p);
    const unsigned char *newline = memchr(machine->p, '\n', left < 1024 ? left : 1024);
    if (!newline)
        return bad(machine, "a name without an end");
    *line = (const char *)machine->p;
    *length = (size_t)(newline - machine->p);
    machine->p = newline + 1;
    return 0;
}

/* --- calls: what the globals mean --- */

/* The items of a tuple, at most `room`; -1 if it is not a tuple of [least, room]. */
static int tuple_items(const struct machine *machine, uint32_t tuple, uint32_t least, uint32_t room,
                       uint32_t *items)
{
    const struct clip_pickle_value *value = value_at(machine, tuple);
    if (value->kind != CLIP_PICKLE_TUPLE || value->length < least || value->length > room)
        return -1;
    uint32_t n = 0;
    for (uint32_t cell = value->first; cell != CLIP_PICKLE_END; cell = machine->pickle->cells[cell].next)
        items[n++] = machine->pickle->cells[cell].value;
    return 0;
}

/* A tuple of whole numbers, none negative. */
static int tuple_sizes(const struct machine *machine, uint32_t tuple, size_t *sizes, int *count)
{
    uint32_t items[CLIP_WEIGHT_DIMENSIONS];
    if (tuple_items(machine, tuple, 0, CLIP_WEIGHT_DIMENSIONS, items) != 0)
        return -1;
    *count = (int)value_at(machine, tuple)->length;
    for (int i = 0; i < *count; i++) {
        const struct clip_pickle_value *value = value_at(machine, items[i]);
        if (value->kind != CLIP_PICKLE_INTEGER || value->integer < 0)
            return -1;
        sizes[i] = (size_t)value->integer;
    }
    return 0;
}

/* The object that calling `maker`'s global would make. */
static int push_object(struct machine *machine, const struct clip_pickle_value *maker)
{
    return push_value(machine, (struct clip_pickle_value){.kind = CLIP_PICKLE_OBJECT,
                                                          .first = CLIP_PICKLE_END,
                                                          .last = CLIP_PICKLE_END,
                                                          .text = maker ? maker->text : NULL});
}

static int is_object(const struct clip_pickle_value *value)
{
    return value->kind == CLIP_PICKLE_OBJECT ||
           (value->kind == CLIP_PICKLE_GLOBAL && value->global == GLOBAL_OTHER);
}

/* ('storage', class, key, device, elements[, view]); before PyTorch 1.6 also ('module', class, file, text) in
 * the place of a module's class. */
static int push_storage(struct machine *machine)
{
    struct clip_pickle *pickle = machine->pickle;
    uint32_t tuple, items[6];
    if (pop(machine, &tuple) != 0)
        return -1;
    if (tuple_items(machine, tuple, 4, 6, items) != 0)
        return bad(machine, "a persistent id that is not a storage");
    if (value_at(machine, tuple)->length == 4 && clip_pickle_is(value_at(machine, items[0]), "module") &&
        is_object(value_at(machine, items[1])))
        return push_index(machine, items[1]);
    if (value_at(machine, tuple)->length == 4)
        return bad(machine, "a persistent id that is not a storage");
    const struct clip_pickle_value *class = value_at(machine, items[1]), *key = value_at(machine, items[2]),
                                   *count = value_at(machine, items[4]);
    if (clip_pickle_is(value_at(machine, items[0]), "storage") && is_object(class))
        return push_object(machine, class); /* of a type that no model's weights have */
    if (!clip_pickle_is(value_at(machine, items[0]), "storage") || class->kind != CLIP_PICKLE_GLOBAL ||
        class->global != GLOBAL_STORAGE || key->kind != CLIP_PICKLE_STRING ||
        count->kind != CLIP_PICKLE_INTEGER || count->integer < 0)
        return bad(machine, "a persistent id that is not a storage");
    if (value_at(machine, tuple)->length == 6 && value_at(machine, items[5])->kind != CLIP_PICKLE_NONE)
        return bad(machine, "a view of a storage, which recent versions of PyTorch do not write,");
    struct clip_pickle_storage storage = {
        .key = key->text, .length = key->length, .type = (enum clip_weight_type) class->type};
    size_t size = storage.type == CLIP_WEIGHT_TYPES ? 1 : clip_weight_size(storage.type);
    if (__builtin_mul_overflow((uint64_t)count->integer, size, &storage.bytes))
        return bad(machine, "a storage whose size overflows");
    if (grow_array(machine, &pickle->storages, &pickle->storage_room, pickle->storage_count, MAX_TENSORS,
                   sizeof storage) != 0)
        return -1;
    pickle->storages[pickle->storage_count] = storage;
    return push_integer(machine, CLIP_PICKLE_STORAGE, (int64_t)pickle->storage_count++);
}

static int push_tensor(struct machine *machine, enum global global, uint32_t arguments)
{
    struct clip_pickle *pickle = machine->pickle;
    struct clip_pickle_tensor tensor = {0};
    uint32_t items[8], least = global == GLOBAL_TENSOR_3 ? 7 : 6;
    int strides;
    if (tuple_items(machine, arguments, least, least + 1, items) != 0)
        return bad(machine, "a tensor with strange arguments");
    const struct clip_pickle_value *storage = value_at(machine, items[0]),
                                   *offset = value_at(machine, items[1]);
    if (storage->kind == CLIP_PICKLE_OBJECT)
        return push_object(machine, storage);
    if (storage->kind != CLIP_PICKLE_STORAGE || offset->kind != CLIP_PICKLE_INTEGER || offset->integer < 0 ||
        tuple_sizes(machine, items[2], tensor.shape, &tensor.ndim) != 0 ||
        tuple_sizes(machine, items[3], tensor.stride, &strides) != 0 || strides != tensor.ndim)
        return bad(machine, "a tensor with strange arguments");
    tensor.storage = (uint32_t)storage->integer;
    tensor.offset = (uint64_t)offset->integer;
    tensor.type = pickle->storages[tensor.storage].type;
    if (global == GLOBAL_TENSOR_3) {
        const struct clip_pickle_value *dtype = value_at(machine, items[6]);
        if (is_object(dtype))
            return push_object(machine, dtype);
        if (dtype->kind != CLIP_PICKLE_GLOBAL || dtype->global != GLOBAL_DTYPE)
            return bad(machine, "a tensor with strange arguments");
        tensor.type = (enum clip_weight_type)dtype->type;
    }
    if (tensor.type == CLIP_WEIGHT_TYPES)
        return bad(machine, "a tensor without a type");
    if (grow_array(machine, &pickle->tensors, &pickle->tensor_room, pickle->tensor_count, MAX_TENSORS,
                   sizeof tensor) != 0)
        return -1;
    pickle->tensors[pickle->tensor_count] = tensor;
    return push_integer(machine, CLIP_PICKLE_TENSOR, (int64_t)pickle->tensor_count++);
}

/* The first argument stands for the call's result. */
static int push_first(struct machine *machine, uint32_t arguments, uint32_t least, uint32_t most,
                      enum clip_pickle_kind kind)
{
    uint32_t items[4];
    if (tuple_items(machine, arguments, least, most, items) != 0)
        return bad(machine, "a call with strange arguments");
    if (kind == CLIP_PICKLE_TENSOR && value_at(machine, items[0])->kind == CLIP_PICKLE_OBJECT)
        return push_index(machine, items[0]);
    if (kind != CLIP_PICKLE_NONE && value_at(machine, items[0])->kind != kind)
        return bad(machine, "a call with strange arguments");
    return push_index(machine, items[0]);
}

static int fail_call(struct machine *machine, const struct clip_pickle_value *callee, const char *verb)
{
    char text[300];
    if (callee->kind != CLIP_PICKLE_GLOBAL)
        return clip_fail(machine->error, "pickle: refuses to %s something that is not a global", verb);
    return clip_fail(machine->error, "pickle: refuses to %s %s", verb,
                     clip_pickle_maker(callee, text, sizeof text));
}

/* A tensor of another class, or with attributes: what its function makes of its arguments. */
static int push_from_type(struct machine *machine, uint32_t arguments)
{
    uint32_t items[4];
    if (tuple_items(machine, arguments, 4, 4, items) != 0)
        return bad(machine, "a tensor with strange arguments");
    const struct clip_pickle_value *function = value_at(machine, items[0]);
    if (is_object(function))
        return push_object(machine, function);
    if (function->kind != CLIP_PICKLE_GLOBAL ||
        (function->global != GLOBAL_TENSOR && function->global != GLOBAL_TENSOR_3))
        return bad(machine, "a tensor with strange arguments");
    return push_tensor(machine, (enum global)function->global, items[2]);
}

static int reduce(struct machine *machine)
{
    uint32_t arguments, callee;
    if (pop(machine, &arguments) != 0 || pop(machine, &callee) != 0)
        return -1;
    const struct clip_pickle_value *value = value_at(machine, callee);
    if (is_object(value))
        return push_object(machine, value);
    if (value->kind != CLIP_PICKLE_GLOBAL)
        return fail_call(machine, value, "call");
    switch ((enum global)value->global) {
    case GLOBAL_TENSOR:
    case GLOBAL_TENSOR_3:
        return push_tensor(machine, (enum global)value->global, arguments);
    case GLOBAL_PARAMETER:
        return push_first(machine, arguments, 3, 4, CLIP_PICKLE_TENSOR);
    case GLOBAL_FROM_TYPE:
        return push_from_type(machine, arguments);
    case GLOBAL_TYPED_LIST:
        return push_first(machine, arguments, 1, 1, CLIP_PICKLE_LIST);
    case GLOBAL_TAG:
        return push_first(machine, arguments, 2, 2, CLIP_PICKLE_NONE);
    case GLOBAL_DICT:
        if (tuple_items(machine, arguments, 0, 0, NULL) != 0)
            return bad(machine, "an OrderedDict with arguments");
        return push_items(machine, CLIP_PICKLE_DICT);
    case GLOBAL_STORAGE:
    case GLOBAL_DTYPE:
    case GLOBAL_MODULE:
    case GLOBAL_OTHER:
        break;
    }
    return fail_call(machine, value, "call");
}

static int new_object(struct machine *machine)
{
    uint32_t arguments, class;
    if (pop(machine, &arguments) != 0 || pop(machine, &class) != 0)
        return -1;
    const struct clip_pickle_value *value = value_at(machine, class);
    if (is_object(value))
        return push_object(machine, value);
    if (value->kind != CLIP_PICKLE_GLOBAL || value->global != GLOBAL_MODULE)
        return fail_call(machine, value, "make an object of");
    if (tuple_items(machine, arguments, 0, 0, NULL) != 0)
        return bad(machine, "an object with arguments");
    return push_items(machine, CLIP_PICKLE_MODULE);
}

static int has_key(const struct machine *machine, const struct clip_pickle_value *dict, const char *key)
{
    const struct clip_pickle_cell *cells = machine->pickle->cells;
    for (uint32_t cell = dict->first; cell != CLIP_PICKLE_END; cell = cells[cells[cell].next].next)
        if (clip_pickle_is(value_at(machine, cells[cell].value), key))
            return 1;
    return 0;
}

/* A module gets its attributes; an OrderedDict may be given some (PyTorch's _metadata), which say nothing to
 * us, and objects what they will. */
static int build(struct machine *machine)
{
    uint32_t state, object;
    if (pop(machine, &state) != 0 || peek(machine, &object) != 0)
        return -1;
    const struct clip_pickle_value *attributes = value_at(machine, state);
    struct clip_pickle_value *value = value_at(machine, object);
    if (is_object(value)) {
        if (value->kind == CLIP_PICKLE_OBJECT && attributes->kind == CLIP_PICKLE_DICT)
            value->global = (uint8_t)has_key(machine, attributes, "_modules");
        return 0;
    }
    if (attributes->kind != CLIP_PICKLE_DICT ||
        (value->kind != CLIP_PICKLE_DICT && value->kind != CLIP_PICKLE_MODULE))
        return bad(machine, "an object built of something strange");
    if (value->kind == CLIP_PICKLE_MODULE) {
        if (value->first != CLIP_PICKLE_END)
            return bad(machine, "an object built twice");
        value->first = attributes->first;
        value->last = attributes->last;
        value->length = attributes->length;
    }
    return 0;
}

static int is_listed(const char *text, size_t length, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (same(text, length, list[i]))
            return 1;
    return 0;
}

/* 1 for globals that weights never need and that hostile files use. */
static int runs_code(const char *module, size_t module_length, const char *name, size_t name_length)
{
    if (same(module, module_length, "builtins") || same(module, module_length, "__builtin__"))
        return !is_listed(name, name_length, builtin_types, CLIP_COUNT_OF(builtin_types));
    return is_listed(module, module_length, refused_modules, CLIP_COUNT_OF(refused_modules));
}

static int refuse_global(struct machine *machine, const struct clip_pickle_value *global)
{
    char text[300];
    return clip_fail(machine->error, "pickle: refuses the global %s",
                     clip_pickle_maker(global, text, sizeof text));
}

static int push_global(struct machine *machine)
{
    const char *module, *name;
    size_t module_length, name_length;
    if (take_line(machine, &module, &module_length) != 0 || take_line(machine, &name, &name_length) != 0)
        return -1;
    /* Module and name as in the file, for messages. */
    struct clip_pickle_value value = {
        .kind = CLIP_PICKLE_GLOBAL, .text = module, .length = (uint32_t)(module_length + 1 + name_length)};
    if (starts_with(module, module_length, "__torch__.") || same(module, module_length, "__torch__")) {
        value.global = GLOBAL_MODULE;
        return push_value(machine, value);
    }
    for (size_t i = 0; i < CLIP_COUNT_OF(globals); i++)
        if (same(module, module_length, globals[i].module) && same(name, name_length, globals[i].name)) {
            value.global = (uint8_t)globals[i].global;
            value.type = (uint8_t)globals[i].type;
            return push_value(machine, value);
        }
    value.global = GLOBAL_OTHER;
    return runs_code(module, module_length, name, name_length) ? refuse_global(machine, &value)
                                                               : push_value(machine, value);
}

/* --- opcodes --- */

/* LONG1, LONG4: a signed number; one of more than eight bytes (a generator's state) is an object. */
static int push_long(struct machine *machine, size_t size)
{
    uint64_t n, bits;
    if (take_number(machine, size, &n) != 0)
        return -1;
    if (n > 8)
        return take_bytes(machine, (size_t)n) ? push_object(machine, NULL) : -1;
    if (take_number(machine, (size_t)n, &bits) != 0)
        return -1;
    if (n > 0 && n < 8 && bits >> (8 * n - 1))
        bits |= UINT64_MAX << 8 * n;
    return push_integer(machine, CLIP_PICKLE_INTEGER, (int64_t)bits);
}

static int push_real(struct machine *machine)
{
    const unsigned char *p = take_bytes(machine, 8); /* the one big-endian number */
    uint64_t bits = 0;
    struct clip_pickle_value value = {.kind = CLIP_PICKLE_REAL};
    if (!p)
        return -1;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&value.real, &bits, sizeof bits);
    return push_value(machine, value);
}

static int push_number(struct machine *machine, size_t bytes)
{
    uint64_t n;
    if (take_number(machine, bytes, &n) != 0)
        return -1;
    return push_integer(machine, CLIP_PICKLE_INTEGER, bytes == 4 ? (int32_t)n : (int64_t)n);
}

static int push_string(struct machine *machine)
{
    uint64_t n;
    if (take_number(machine, 4, &n) != 0)
        return -1;
    const unsigned char *text = take_bytes(machine, (size_t)n);
    return text ? push_value(machine, (struct clip_pickle_value){.kind = CLIP_PICKLE_STRING,
                                                                 .length = (uint32_t)n,
                                                                 .text = (const char *)text})
                : -1;
}

/* Pops `count` values into a tuple. */
static int make_tuple(struct machine *machine, size_t count)
{
    uint32_t items[3];
    for (size_t i = count; i > 0; i--)
        if (pop(machine, &items[i - 1]) != 0)
            return -1;
    if (push_items(machine, CLIP_PICKLE_TUPLE) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (append_item(machine, machine->stack[machine->depth - 1], items[i]) != 0)
            return -1;
    return 0;
}

/* Everything after the mark into a tuple. */
static int make_marked_tuple(struct machine *machine)
{
    size_t first;
    if (find_mark(machine, &first) != 0 || push_items(machine, CLIP_PICKLE_TUPLE) != 0)
        return -1;
    uint32_t tuple = machine->stack[--machine->depth];
    if (append_from(machine, tuple, first) != 0)
        return -1;
    machine->stack[machine->depth - 1] = tuple; /* in the mark's place */
    return 0;
}

/* Moves what stands on the stack from `first` on into the container below it, and below `marks` marks. */
static int add_items(struct machine *machine, enum clip_pickle_kind kind, size_t first, size_t marks)
{
    if (first < 1 + marks || machine->stack[first - marks - 1] == MARK)
        return bad(machine, "items without a container");
    uint32_t container = machine->stack[first - marks - 1];
    int object = is_object(value_at(machine, container));
    if (value_at(machine, container)->kind != kind && !object)
        return bad(machine, "items for something that holds none");
    for (size_t i = first; i < machine->depth; i++)
        if (machine->stack[i] == MARK)
            return bad(machine, "nothing on the stack");
    if (kind == CLIP_PICKLE_DICT && (machine->depth - first) % 2)
        return bad(machine, "a key without a value");
    if (object && (kind == CLIP_PICKLE_LIST || value_at(machine, container)->kind != CLIP_PICKLE_OBJECT))
        machine->depth = first; /* a list of some kind: nobody looks into it */
    else if (append_from(machine, container, first) != 0)
        return -1;
    machine->depth -= marks;
    return 0;
}

static int add_one(struct machine *machine, enum clip_pickle_kind kind)
{
    size_t count = kind == CLIP_PICKLE_DICT ? 2 : 1;
    return machine->depth < count ? bad(machine, "nothing on the stack")
                                  : add_items(machine, kind, machine->depth - count, 0);
}

static int add_marked(struct machine *machine, enum clip_pickle_kind kind)
{
    size_t first;
    return find_mark(machine, &first) != 0 ? -1 : add_items(machine, kind, first, 1);
}

static int use_memo(struct machine *machine, size_t bytes, int (*use)(struct machine *, uint32_t))
{
    uint64_t slot;
    return take_number(machine, bytes, &slot) != 0 ? -1 : use(machine, (uint32_t)slot);
}

/* An opcode outside the closed set; named if it would make or call something. */
static int refuse(struct machine *machine, int op)
{
    static const struct {
        int op;
        const char *name;
    } names[] = {{'i', "INST"},       {'o', "OBJ"},           {'P', "PERSID"}, {0x82, "EXT1"},
                 {0x83, "EXT2"},      {0x84, "EXT4"},         {'S', "STRING"}, {'T', "BINSTRING"},
                 {0x92, "NEWOBJ_EX"}, {0x93, "STACK_GLOBAL"}, {'2', "DUP"},    {0x95, "FRAME"}};
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (names[i].op == op)
            return clip_fail(machine->error, "pickle: refuses the opcode %s at byte %zu", names[i].name,
                             (size_t)(machine->p - machine->start - 1));
    return clip_fail(machine->error, "pickle: refuses the opcode 0x%02x at byte %zu", (unsigned)op,
                     (size_t)(machine->p - machine->start - 1));
}

static int check_protocol(struct machine *machine)
{
    uint64_t protocol;
    if (take_number(machine, 1, &protocol) != 0)
        return -1;
    return protocol == 2
               ? 0
               : clip_fail(machine->error, "pickle: refuses protocol %d (PyTorch writes 2)", (int)protocol);
}

static int step(struct machine *machine, int op)
{
    switch (op) {
    case OP_PROTO:
        return check_protocol(machine);
    case OP_MARK:
        return push_index(machine, MARK);
    case OP_NONE:
        return push_integer(machine, CLIP_PICKLE_NONE, 0);
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return push_integer(machine, CLIP_PICKLE_BOOL, op == OP_NEWTRUE);
    case OP_BININT:
        return push_number(machine, 4);
    case OP_BININT1:
        return push_number(machine, 1);
    case OP_BININT2:
        return push_number(machine, 2);
    case OP_LONG1:
    case OP_LONG4:
        return push_long(machine, op == OP_LONG1 ? 1 : 4);
    case OP_POP:
    case OP_POP_MARK:
        return drop(machine, op == OP_POP_MARK);
    case OP_BINFLOAT:
        return push_real(machine);
    case OP_BINUNICODE:
        return push_string(machine);
    case OP_EMPTY_TUPLE:
        return make_tuple(machine, 0);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return make_tuple(machine, (size_t)(op - OP_TUPLE1 + 1));
    case OP_TUPLE:
        return make_marked_tuple(machine);
    case OP_EMPTY_LIST:
        return push_items(machine, CLIP_PICKLE_LIST);
    case OP_APPEND:
        return add_one(machine, CLIP_PICKLE_LIST);
    case OP_APPENDS:
        return add_marked(machine, CLIP_PICKLE_LIST);
    case OP_EMPTY_DICT:
        return push_items(machine, CLIP_PICKLE_DICT);
    case OP_SETITEM:
        return add_one(machine, CLIP_PICKLE_DICT);
    case OP_SETITEMS:
        return add_marked(machine, CLIP_PICKLE_DICT);
    case OP_GLOBAL:
        return push_global(machine);
    case OP_REDUCE:
        return reduce(machine);
    case OP_NEWOBJ:
        return new_object(machine);
    case OP_BUILD:
        return build(machine);
    case OP_BINPERSID:
        return push_storage(machine);
    case OP_BINPUT:
        return use_memo(machine, 1, put_memo);
    case OP_LONG_BINPUT:
        return use_memo(machine, 4, put_memo);
    case OP_BINGET:
        return use_memo(machine, 1, get_memo);
    case OP_LONG_BINGET:
        return use_memo(machine, 4, get_memo);
    }
    return refuse(machine, op);
}

/* A pickle that is only a global, or an overlong number, is not a checkpoint. */
static int check_root(struct machine *machine)
{
    const struct clip_pickle_value *root = value_at(machine, machine->pickle->root);
    if (root->kind == CLIP_PICKLE_GLOBAL && is_object(root))
        return refuse_global(machine, root);
    return root->kind == CLIP_PICKLE_OBJECT && !root->text ? bad(machine, "a number of more than 64 bits")
                                                           : 0;
}

static int run_opcodes(struct machine *machine)
{
    while (machine->p < machine->end) {
        int op = *machine->p++;
        if (op == OP_STOP) {
            if (pop(machine, &machine->pickle->root) != 0)
                return -1;
            machine->pickle->used = (size_t)(machine->p - machine->start);
            return machine->depth == 0 ? check_root(machine) : bad(machine, "more than one value");
        }
        if (step(machine, op) != 0)
            return -1;
    }
    return bad(machine, "cut");
}

int clip_pickle_read(struct clip_pickle *pickle, const unsigned char *data, size_t size,
                     struct clip_error *error)
{
    struct machine machine = {.pickle = pickle, .start = data, .p = data, .end = data + size, .error = error};
    *pickle = (struct clip_pickle){0};
    int result = run_opcodes(&machine);
    free(machine.stack);
    free(machine.memo);
    return result;
}

void clip_pickle_free(struct clip_pickle *pickle)
{
    free(pickle->values);
    free(pickle->cells);
    free(pickle->storages);
    free(pickle->tensors);
    *pickle = (struct clip_pickle){0};
}

const char *clip_pickle_maker(const struct clip_pickle_value *object, char *out, size_t size)
{
    char module[150], name[150];
    if (!object->text)
        return strcpy(out, "a number");
    const char *middle = rawmemchr(object->text, '\n'), *end = rawmemchr(middle + 1, '\n');
    snprintf(out, size, "%s.%s",
             clip_printable(module, sizeof module, object->text, (size_t)(middle - object->text)),
             clip_printable(name, sizeof name, middle + 1, (size_t)(end - middle - 1)));
    return out;
}

int clip_pickle_is(const struct clip_pickle_value *value, const char *text)
{
    return value->kind == CLIP_PICKLE_STRING && same(value->text, value->length, text);
}
