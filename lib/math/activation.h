/* Activations of hidden layers. */
#ifndef CLIP_MATH_ACTIVATION_H
#define CLIP_MATH_ACTIVATION_H

enum clip_activation {
    CLIP_QUICK_GELU, /* x sigmoid(1.702 x) */
    CLIP_GELU,       /* x Phi(x), Phi by erf */
    CLIP_GELU_TANH,  /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2 */
    CLIP_SILU,       /* x sigmoid(x) */
    CLIP_RELU,       /* max(x, 0) */
    CLIP_RELU2,      /* max(x, 0)² */
    CLIP_SIGMOID,    /* 1 / (1 + e^-x) */
    CLIP_IDENTITY,   /* x */
    CLIP_ACTIVATIONS
};

#endif
