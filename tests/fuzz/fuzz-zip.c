/* The zip reader on any bytes, and PyTorch's files in one: data of entries must be in the file, and not
 * overlap. */
#include "model/forms.h"
#include "model/zip.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_zip zip;
    struct clip_weights weights = {0};
    struct clip_error error = {""};
    enum clip_form form;
    volatile unsigned sum = 0;
    if (clip_zip_read(&zip, data, size, &error) == 0) {
        size_t total = 0;
        for (size_t i = 0; i < zip.count; i++) {
            const struct clip_zip_entry *entry = &zip.entries[i];
            if (clip_zip_find(&zip, entry->name, entry->length) != entry)
                abort();
            for (size_t j = 0; j < entry->stored; j++)
                sum = sum + entry->data[j];
            total += entry->stored;
        }
        if (total > size)
            abort();
    } else if (error.text[0] == '\0') {
        abort(); /* an error without a message */
    }
    clip_zip_free(&zip);
    clip_torch_zip_read(&weights, &form, data, size, &error);
    clip_weights_free(&weights);
    return 0;
}
