/* open_clip's vision_cfg of towers of timm: timm_model_name, timm_pool and timm_model_kwargs. */
#ifndef CLIP_MODEL_TIMM_CONFIG_H
#define CLIP_MODEL_TIMM_CONFIG_H

#include "model/kind-parts.h"

/* The options of a CLIPVisionCfg with a timm tower. */
int clip_check_timm_options(struct json_object *object, const char *where, struct clip_error *error);

/* 1 if timm_model_name begins with `prefix`. */
int clip_is_timm_named(struct json_object *object, const char *prefix);
/* Fails for a timm_model_name that is not known. */
int clip_fail_timm_name(struct json_object *object, const char *where, struct clip_error *error);
/* -1 unless timm_pool is "avg", or "" where open_clip projects, which leaves the trunk's pool as it is. */
int clip_check_timm_average(struct json_object *object, const char *where,
                            const struct clip_tower_arch *tower, struct clip_error *error);

/* A timm tower's vision_cfg up to timm_model_kwargs; then members of these, each unless it is what the name
 * stands for; then the rest of vision_cfg. */
struct clip_kwargs {
    FILE *file;
    int count; /* members that were put */
};
struct clip_kwargs clip_kwargs_begin(FILE *file, const char *name, const char *pool,
                                     const struct clip_tower_arch *tower);
void clip_kwargs_int(struct clip_kwargs *kwargs, const char *key, int value, int known);
void clip_kwargs_real(struct clip_kwargs *kwargs, const char *key, double value, double known);
/* Lists of n and of known_n numbers. */
void clip_kwargs_list(struct clip_kwargs *kwargs, const char *key, const int *value, int n, const int *known,
                      int known_n);
/* The key and its value as printf prints it. */
void clip_kwargs_put(struct clip_kwargs *kwargs, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void clip_kwargs_end(struct clip_kwargs *kwargs, const struct clip_tower_arch *tower);

#endif
