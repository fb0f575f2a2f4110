#include "stream/skips.h"

int clip_skips_add(struct clip_skips *skips, const struct clip_record *record, struct clip_error *error)
{
    char name[400];
    clip_record_name(record, name, sizeof name);
    if (!skips->shared->skip_bad)
        return clip_fail(error, "%s: %s", name, record->error.text);
    skips->count++;
    if (!skips->rejects) {
        clip_message("%s: %s (skipped)", name, record->error.text);
        return 0;
    }
    clip_verbose("%s: %s (skipped)", name, record->error.text);
    return clip_rejects_add(skips->rejects, record, error);
}

void clip_skips_note(const struct clip_skips *skips)
{
    unsigned long long n = skips->count;
    if (n && skips->rejects)
        clip_note("%llu bad records skipped%s", n, skips->shared->verbose ? "" : " (-v names them)");
    else if (n)
        clip_message("%llu bad records skipped", n);
}
