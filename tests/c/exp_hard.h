/* Inputs whose exponentials lie so near to a float64, or to the middle of two, that 51 or more bits after the last
 * are alike: of the hardest there are to round. From the searches of V. Lefevre and J.-M. Muller, "Worst cases for
 * correct rounding of the elementary functions in double precision" (2001), as the test data of crlibm and MPFR hold
 * them; the bits were counted again with mpmath. */
#ifndef FS_EXP_HARD_H
#define FS_EXP_HARD_H

static const double HARD[] = {
    -0x1.6952d8007f7ebp-33, -0x1.3cbe280061f98p-33, -0x1.244b7800536f1p-33, 0x1.ffffffffffffep-52,
    0x1.1ffffffffff5ep-44,  0x1.f4afffffff0b3p-41,  0x1.02d3fffffefa5p-39,  0x1.03fffffffef7fp-39,
    0x1.3f4afffff9c71p-37,  0x1.226c7ffff5b43p-36,  0x1.3645bfffe87f3p-35,  0x1.cfd2bfffcb7a4p-35,
    0x1.16d6cfffb4123p-33,  0x1.836b2fff6d6cbp-33,  0x1.474d77ff2ec48p-32,  0x1.275923feab417p-31,
    0x1.9e9cbbfd6080bp-31,  0x1.d3892bfcaa224p-31,  0x1.3a1741fcfd45ep-30,  0x1.f97764f067defp-29,
    0x1.c5cc4b66dc9adp-28,  0x1.00bf0dafe8156p-27,  0x1.ef0a86042b64dp-27,  0x1.1d1aa8784f744p-26,
    0x1.1a17cb0c93c90p-24,  0x1.2e5017957f776p-24,  0x1.40030edffc2d1p-24,  0x1.a192c2337046ep-24,
    0x1.3c120795c37acp-23,  0x1.0454937aa0971p-20,  0x1.abb7688894681p-20,  0x1.bfc067d273425p-20,
    0x1.358de14ec1c9ap-19,  0x1.f007cebd5710dp-19,  0x1.03c4423b17bccp-17,  0x1.d0c9d5bd3eadcp-17,
    0x1.f8b1774e0e123p-17,  0x1.a3ad76e4d7a6dp-16,  0x1.c1d04f5e50962p-16,  0x1.0d0f325acd21ep-15,
    0x1.a17583276cb53p-15,  0x1.25509533ca2dcp-12,  0x1.a02a866632735p-12,  0x1.0850c69fc1c96p-11,
    0x1.1d237c4e5141bp-11,  0x1.c517f7c0d6da3p-11,  0x1.0441db1d6f213p-10,  0x1.a7bb5fbd9d72fp-9,
    0x1.1d34dd27ef62ap-8,   0x1.b241d26c4794bp-8,   0x1.e52a847839285p-8,   0x1.ab37eb9c2cf79p-7,
    0x1.356b00a0a6789p-4,   0x1.a065fefae814fp-3,   0x1.cd3848dec31b2p-3,   0x1.00687179e3f66p-2,
    0x1.005ae04256babp-1,   0x1.00091a4a0dae5p+2,   0x1.fe0836c0955b9p+6,
};

#endif
