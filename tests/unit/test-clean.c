/* Cleaning against what Python 3.11 with ftfy 6.3.1 makes of the same bytes, and its parts by themselves. */
#include "check.h"
#include "text/clean.h"
#include "text/entities.h"
#include "text/mojibake.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

struct text {
    const char *dirty;
    size_t length;
    const char *clean;
};
#define TEXT(dirty, clean)                                                                                   \
    {                                                                                                        \
        dirty, sizeof dirty - 1, clean                                                                       \
    }

/* What OpenAI's basic_clean, whitespace_clean and lower() give, one after another. */
static const struct text texts[] = {
    /* white space and case */
    TEXT("", ""),
    TEXT("   ", ""),
    TEXT("\011 Two\n\n lines \342\200\203and\343\200\200more\013\014 ", "two lines and more"),
    TEXT("ÀÉÎ ŒUVRE", "àéî œuvre"),
    TEXT("İZMİR", "i̇zmi̇r"),
    TEXT("ΟΔΟΣ ΣΟΦΟΣ Σ ΑΣ. ΣΑ ΑΣ:Β", "οδος σοφος σ ας. σα ασ:β"),
    TEXT("\316\221\316\243\314\201 \316\243\302\255", "\316\261\317\202\314\201 \317\203\302\255"),
    TEXT("ǅ ǈ", "dž lj"),
    TEXT("Აა Ꟁ", "აა ꟁ"),
    /* bytes that are not UTF-8 */
    TEXT("a\377b", "a�b"),
    TEXT("\344\270 \344\270\255 \360\237\230", "� 中 �"),
    TEXT("\355\240\200 \300\200 \364\220\200\200 \370\210", "��� �� ���� ��"),
    TEXT("cut \342\202", "cut �"),
    /* characters that are made plain */
    TEXT("“curly” ‘quotes’ ‟low‛ ʼ", "\"curly\" 'quotes' \"low' '"),
    TEXT("ﬁve ﬂat ﬃne ﬅ ŉ Ǆ ĳ", "five flat ffine ſt 'n dž ij"),
    TEXT("\357\274\246\357\274\265\357\274\254\357\274\254\343\200\200\357\275\227\357\275\211\357\275\204"
         "\357\275\224\357\275\210\357\274\202\357\274\207",
         "full width\"'"),
    TEXT("ﾊﾝｶｸ ﾀﾞｲ ﾡﾂ", "ハンカク ダイ ᄀツ"),
    TEXT("one\015\ntwo\015three\342\200\250four\342\200\251five", "one two three four five"),
    TEXT("\033[1;31mred\033[0m \033[not \033[1;\331\243mx", "red ot x"),
    TEXT("nul\000bell\007del\177 tab\011feff\357\273\277 ann\357\277\271\342\201\252",
         "nulbelldel tab feff ann"),
    TEXT("soft\302\255hyphen joiner\342\200\215mark\342\200\217",
         "soft\302\255hyphen joiner\342\200\215mark\342\200\217"),
    TEXT("é Å 각 क़ Ω", "é å 각 क़ ω"),
    TEXT("̈́ ẛ̣ q̣̇", "̈́ ẛ̣ q̣̇"),
    /* references */
    TEXT("&lt;b&gt; &amp;amp; &eacute; &#233; &#x27;", "<b> & é é '"),
    TEXT("&LT &AMPx &notit; &ampamp; &copy &gt", "< &x ¬it; & © >"),
    TEXT("P&EACUTE;REZ STRA&SZLIG;E &nTILDE; &HELLIP;", "pérez strasse &ntilde; …"),
    TEXT("< &eacute; &EACUTE; &amp;amp;eacute;", "< é &eacute; &eacute;"),
    TEXT("line &eacute;\n<b> &EACUTE;\n&EACUTE;", "line é <b> &eacute; &eacute;"),
    TEXT("&#0; &#128; &#x80; &#xD800; &#1114112; &#xfffe; &#31; &#59; &#13;", "� € € � � ;"),
    TEXT("&#99999999999999999999999999; &#x; &#; &#12ab; &NotEqualTilde; &fjlig;", "� &#x; &#; ab; ≂̸ fj"),
    TEXT("&CounterClockwiseContourIntegral; &bogus; &a; &", "∳ &bogus; &a; &"),
    TEXT("&amp;#38;amp;#38;", "&"),
    /* mojibake */
    TEXT("cafÃ© Ã±andÃº âœ”", "café ñandú ✔"),
    TEXT("\303\242\342\202\254\305\223quoted\303\242\342\202\254\302\235 \303\242\342\202\254\342\200\235 "
         "it\303\242\342\202\254\342\204\242s\303\242\342\202\254\302\246",
         "\"quoted\" — it's…"),
    TEXT("naÃƒÂ¯ve faÃƒÂ§ade", "naïve façade"),
    TEXT("ÐŸÑ€Ð¸Ð²ÐµÑ‚, Ð¼Ð¸Ñ€", "привет, мир"),
    TEXT("РџСЂРёРІРµС‚", "привет"),
    TEXT("\304\271\304\276lu\304\271\304\204ou\303\204\305\244k\304\202\313\235 "
         "k\304\271\305\273\304\271\302\210",
         "žluťoučký kůň"),
    TEXT("Ξ•Ξ»Ξ»Ξ·Ξ½ΞΉΞΊΞ¬", "ελληνικά"),
    TEXT("Ä±ÄŸdÄ±r gÃ¼neÅŸ", "ığdır güneş"),
    TEXT("Ä…Å¾uolas Ä—jo", "ąžuolas ėjo"),
    TEXT("na√Øve ‚Äúx‚Äù ≈ìuf", "naïve \"x\" œuf"),
    TEXT("d├⌐j├á vu ├ºa", "déjà vu ça"),
    TEXT("dv\303\204\302\233 v\303\204\302\233ty", "dvě věty"),
    TEXT("\303\246\342\200\224\302\245\303\246\305\223\302\254\303\250\302\252\305\276\303\243\306\222\342"
         "\200\240\303\243\342\200\232\302\255\303\243\342\200\232\302\271\303\243\306\222\313\206",
         "日本語テキスト"),
    TEXT("\303\260\302\237\302\230\302\200 smile", "😀 smile"),
    TEXT("Ã la mode, voilÃ le travail Ã quel", "à la mode, voilà le travail à quel"),
    TEXT("Ã s vezes vou Ã quele bar", "às vezes vou àquele bar"),
    TEXT("â€œlikeÂ thisâ€� and ?Ã", "\"like thisâ€� and ?ã"),
    TEXT("l’Ã©tÃ© et “l’été”", "l'été et \"l'été\""),
    TEXT("\303\203\302\251 \302\223quoted\302\224 \302\205", "é \"quoted\" …"),
    TEXT("x \302\201 y \302\225 z", "x \302\201 y \342\200\242 z"),
    TEXT("\303\255\302\240\302\275\303\255\302\270\302\200 java \303\200\302\200", "😀 java"),
    TEXT("\303\255\302\240\302\275\303\255\302\270\nnext", "😊next"),
    TEXT("\303\203\302\251\303\200\nnext", "énext"),
    /* text that is right */
    TEXT("café Ångström naïve", "café ångström naïve"),
    TEXT("½ price: £5 – €9 ©", "½ price: £5 – €9 ©"),
    TEXT("Ætt Øre Åse", "ætt øre åse"),
    TEXT("¿Qué? ¡No!", "¿qué? ¡no!"),
    TEXT("Œuvre", "œuvre"),
    TEXT("(｡◕‿◕｡) ┌∩┐ (ò_ó)", "(。◕‿◕。) ┌∩┐ (ò_ó)"),
    TEXT("5° à 10°", "5° à 10°"),
    TEXT("Привет Γειά 日本語 한국어", "привет γειά 日本語 한국어"),
    TEXT("Å is a word, Ā too", "å is a word, ā too"),
    TEXT("─│┌ box", "─│┌ box"),
};

static void check_texts(void)
{
    struct clip_error error;
    struct clip_cleaner *cleaner = clip_cleaner_new(&error);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct text *text = &texts[i];
        const char *clean;
        size_t length;
        CHECK(clip_clean(cleaner, text->dirty, text->length, &clean, &length, &error) == 0, "%s", error.text);
        CHECK(length == strlen(text->clean) && memcmp(clean, text->clean, length) == 0, "'%s': '%.*s'",
              text->dirty, (int)length, clean);
    }
    clip_cleaner_free(cleaner);
}

/* Every code point survives a round trip, and nothing else is read as one. */
static void check_utf8(void)
{
    size_t wrong = 0, read = 0;
    for (uint32_t point = 0; point <= CLIP_MAX_POINT; point++) {
        uint8_t bytes[4];
        uint32_t again = 0;
        if (point >= 0xd800 && point < 0xe000)
            continue;
        size_t n = clip_utf8_write(bytes, point);
        wrong += clip_utf8_read(&again, bytes, n) != (int)n || again != point;
        for (size_t cut = 1; cut < n; cut++)
            wrong += clip_utf8_read(&again, bytes, cut) != -(int)cut;
    }
    CHECK(wrong == 0, "%zu", wrong);
    for (uint32_t i = 0; i < 1u << 24; i++) {
        uint8_t bytes[3] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        uint32_t point;
        read += clip_utf8_read(&point, bytes, 3) == 3;
    }
    CHECK(read == 0x10000 - 0x800 - 0x800, "%zu sequences of three bytes",
          read); /* less those of two, surrogates */
}

static struct clip_points points_of(const uint32_t *at, size_t n)
{
    struct clip_error error;
    struct clip_points points = {0};
    if (clip_points_reserve(&points, n, &error) != 0)
        abort();
    memcpy(points.at, at, n * sizeof *at);
    points.n = n;
    return points;
}

/* Characters of Unicode 15 and 16 are as unknown as they are to Python 3.11, whatever libunistring knows. */
static void check_newer_unicode(void)
{
    struct clip_error error;
    /* Gurung Khema's two marks compose, Garay's capital has a small letter: since Unicode 16 */
    static const uint32_t newer[] = {0x1611e, 0x1611e, 0x10d50, 'X'};
    struct clip_points text = points_of(newer, 4), work = {0};
    CHECK(clip_nfc(&text, &work, &error) == 0 && text.n == 4 && text.at[0] == 0x1611e, "");
    CHECK(clip_lower(&text, &work, &error) == 0 && text.at[2] == 0x10d50 && text.at[3] == 'x', "");
    CHECK(!(clip_point_classes(0x1611e) & CLIP_ASSIGNED) && clip_point_classes(0x10d50) & CLIP_LETTER, "");
    clip_points_free(&text);
    clip_points_free(&work);
}

/* Each layer of wrong reading is taken off again: 12 of them over one letter. */
static void check_layers(void)
{
    struct clip_error error;
    static const uint32_t letter[] = {'a', 0xe9};
    struct clip_points text = points_of(letter, 2);
    for (int layer = 0; layer < 12; layer++) {
        struct clip_points wrong = {0};
        CHECK(clip_points_reserve(&wrong, 4 * text.n, &error) == 0, "");
        for (size_t i = 0; i < text.n; i++) {
            uint8_t bytes[4];
            for (size_t k = 0, n = clip_utf8_write(bytes, text.at[i]); k < n; k++)
                wrong.at[wrong.n++] = bytes[k];
        }
        clip_points_free(&text);
        text = wrong;
    }
    CHECK(text.n == 1 + 4096 && clip_is_mojibake(text.at, text.n), "%zu", text.n);
    CHECK(clip_fix_encoding(&text, &error) == 0 && text.n == 2 && text.at[1] == 0xe9, "%zu", text.n);
    CHECK(!clip_is_mojibake(text.at, text.n), "");
    clip_points_free(&text);
}

static int is_mojibake(const char *text)
{
    uint32_t points[64];
    size_t n = 0;
    for (size_t left = strlen(text); left > 0 && n < 64;) {
        int taken = clip_utf8_read(&points[n++], (const uint8_t *)text, left);
        text += taken;
        left -= (size_t)taken;
    }
    return clip_is_mojibake(points, n);
}

/* A text for each rule of ftfy's badness, and texts that fit none. */
static void check_rules(void)
{
    static const char *const bad[] = {"\302\201", "é¦",
                                      "aα¦",      "¨é",
                                      "éÀ",       "€é",
                                      "é€",       " À¢",
                                      "À²",       "é“½",
                                      "À”“",      "½“",
                                      "aÀ“",      "█ö",
                                      "é█",       "█”",
                                      "é“x",      "œ ",
                                      "À°",       "Â\302\240\302\255",
                                      "Ð€",       "×²",
                                      "Ø§Ù¢",     "à²",
                                      "√±",       "≈°",
                                      "‚Äì",      "‚âà",
                                      "вЂ",       "Г¦В",
                                      "ГўВЂВ.a",  "Ã¡",
                                      "aÂ b",     "a\342\200\203Ã b",
                                      "Ã x",      ".Â “",
                                      "β€™",      "Β¦Ο",
                                      "ā€"};
    static const char *const good[] = {
        "café", "naïve “quoted”", "½ cup", "5°C",        "œuf", "ŒUVRE", "a² + b²",
        "“à”",  "à la",           "Ærø",   "ÅÄÖ",        "×",   "√2",    "Ã",
        "Â",    "é “x”",          "ā",     "β-carotene", "Ж",   "²",     "plain",
        ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(is_mojibake(bad[i]), "%s", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(!is_mojibake(good[i]), "%s", good[i]);
}

/* What becomes of printable ASCII without references, a byte at a time. */
static size_t clean_slowly(const char *text, size_t length, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ' && (n == 0 || out[n - 1] == ' '))
            continue;
        out[n++] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    }
    return n > 0 && out[n - 1] == ' ' ? n - 1 : n;
}

static void check_plain(struct clip_cleaner *cleaner, const char *text, size_t length)
{
    char expected[200];
    const char *clean = NULL;
    struct clip_error error;
    size_t n = 0, expected_n = clean_slowly(text, length, expected);
    CHECK(clip_clean(cleaner, text, length, &clean, &n, &error) == 0, "");
    CHECK(n == expected_n && memcmp(clean, expected, n) == 0, "'%.*s'", (int)length, text);
    for (size_t i = 0; i < CLIP_CLEAN_PADDING; i++)
        CHECK(clean[n + i] == 0, "'%.*s'", (int)length, text);
}

/* Texts of every length around the blocks that they are cleaned in, one or two bytes of each unlike the rest.
 */
static void check_blocks(void)
{
    static const char others[] = "  A@[Z`{~!%'<a  ";
    struct clip_error error;
    struct clip_cleaner *cleaner = clip_cleaner_new(&error);
    for (size_t length = 0; length < 70; length++)
        for (size_t at = 0; at <= length; at++)
            for (size_t other = 0; other + 1 < sizeof others - 1; other++) {
                char *text = malloc(length + 1); /* of just that size, for the sanitizer */
                memset(text, 'x', length);
                for (size_t i = 0; i < 2 && at + i < length; i++)
                    text[at + i] = others[other + i];
                check_plain(cleaner, text, length);
                free(text);
            }
    clip_cleaner_free(cleaner);
}

/* The same of what is not simple: it is found wherever it is. */
static void check_marks(void)
{
    static const char *const marks[][2] = {
        {"&amp;", "&"}, {"\302\240", " "}, {"\t\t", " "}, {"\177", ""}, {"\303\211", "\303\251"}};
    struct clip_error error;
    struct clip_cleaner *cleaner = clip_cleaner_new(&error);
    for (size_t before = 1; before < 40; before++)
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            for (size_t after = 1; after < 20; after++) {
                char text[100], expected[100];
                const char *clean = NULL;
                size_t n = 0;
                static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
                int length =
                    snprintf(text, sizeof text, "%.*s%s%.*s", (int)before, xs, marks[i][0], (int)after, xs);
                snprintf(expected, sizeof expected, "%.*s%s%.*s", (int)before, xs, marks[i][1], (int)after,
                         xs);
                CHECK(clip_clean(cleaner, text, (size_t)length, &clean, &n, &error) == 0, "");
                CHECK(n == strlen(expected) && memcmp(clean, expected, n) == 0, "'%s': '%.*s'", text, (int)n,
                      clean);
            }
    clip_cleaner_free(cleaner);
}

int main(void)
{
    check_blocks();
    check_marks();
    check_rules();
    check_texts();
    check_utf8();
    check_newer_unicode();
    check_layers();
    return check_end();
}
