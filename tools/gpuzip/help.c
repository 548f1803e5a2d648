/* help.c: see help.h. */
#include "help.h"

#include "gpuzip.h"

#include <stdio.h>

static const char usage[] = "Usage: gpuzip [OPTION]... [FILE]...\n"
                            "Compress FILE to FILE.gpz with a language model, or back. With no "
                            "FILE, or\nwith -, read standard input and write standard "
                            "output.\n\n";

static const char common_options[] =
    "  -1 .. -9     fast .. small; -6 is the default\n"
    "  -d           decompress       -t  test FILE.gpz        -l  list its contents\n"
    "  -c           write to standard output, keep FILE\n"
    "  -o FILE      write to FILE\n"
    "  -f           overwrite; read links and devices\n"
    "  --rm         remove FILE when done (-k, the default, keeps it)\n"
    "  -r           work on all files in the folders given\n"
    "  -T#          use # processor threads (0: all)\n"
    "  -b           benchmark in memory\n"
    "  -q  -v       be quieter, more verbose\n"
    "  -V  -h  -H   version, this help, all options\n"
    "  --model M    use M, not the built-in model: a .gpzm file, a Hugging Face\n"
    "               folder, or the name of one in its cache\n"
    "\n"
    "       gpuzip model import SOURCE -o X.gpzm | info [MODEL]\n"
    "       gpuzip model learn TEXT... -o X.gpzm\n"
    "       gpuzip explain FILE [-o REPORT.html]\n";

static const char all_options[] =
    "Operations:\n"
    "  -z, --compress       compress; the default\n"
    "  -d, --decompress     decompress; several .gpz files in one decode as one\n"
    "      --uncompress     the same. The program's name gpunzip means -d, gpzcat -dc\n"
    "  -t, --test           decode and discard\n"
    "  -l, --list           list sizes and settings of .gpz files; -lv in full\n"
    "  -b, --benchmark      measure FILE in memory at every level given\n"
    "  -i#                  measure each direction for at least # seconds (default 3)\n"
    "\n"
    "Files:\n"
    "  -k, --keep           keep FILE; the default\n"
    "      --rm             remove FILE when the result is safely on the disk\n"
    "  -c, --stdout         write to standard output (also --to-stdout)\n"
    "  -o, --output FILE    write to FILE; - is standard output\n"
    "  -f, --force          overwrite; follow links; read FIFOs and devices; compress\n"
    "                       .gpz files again; decompress X that lacks .gpz to X.out\n"
    "  -r, --recursive      work on all files in the folders given\n"
    "      --keep-going     with -d and -t: restore all intact blocks of a damaged file, with\n"
    "                       zeros for lost bytes, and say which are lost; exit code 1\n"
    "\n"
    "Compression (the level sets the options not given):\n"
    "  -1 .. -9             fast .. small; -6 is the default\n"
    "      --window N       tokens of context, by default a window that slides with\n"
    "                       each token\n"
    "      --hop N          tokens from a window to the next; the model re-reads the\n"
    "                       rest of each window. GPT-2 needs it: its windows cannot slide\n"
    "      --streams N      sequences coded at once; more: faster, fewer: smaller\n"
    "      --block-size N   bytes in a block, which decodes alone; K, M\n"
    "      --no-verify      do not decode each block for a check after coding it\n"
    "      --no-pack        never pack. By default a block that LZMA2 or zstd make\n"
    "                       smaller than the experts do is packed with them\n"
    "\n"
    "Experts (their product, weighted by alpha, predicts each token):\n"
    "      --model M        add a language model: a .gpzm file, a Hugging Face folder, a\n"
    "                       llama2.c or llm.c .bin, or a name such as\n"
    "                       openai-community/gpt2 in the Hugging Face cache. May be\n"
    "                       repeated. Default: the built-in model. Decompression needs\n"
    "                       the same models\n"
    "      --naive-bayes    add Naive Bayes: counts of the file's own tokens\n"
    "      --alpha learn    start with equal alphas of sum 1 for the models and 0.1 for\n"
    "                       --naive-bayes, and adapt them while coding; the default\n"
    "                       for one model\n"
    "      --alpha A,...    fixed alphas, 0 to 15.99: of the models in the order given,\n"
    "                       then of --naive-bayes. They adapt if --adapt has alphas\n"
    "      --alpha learn:A,...    start with these, at most 2, and adapt them\n"
    "      --alpha fit      start with the best alphas for the first MiB (takes time)\n"
    "                       and adapt them; the default for several models. --adapt\n"
    "                       without alphas keeps them fixed\n"
    "      --adapt LIST     adaptive parts: contexts, biases, alphas, weights, separated\n"
    "                       by commas; all; none. weights: the models' own learn; slow,\n"
    "                       and on CPUs only. Default: all but weights; -9: all\n"
    "      --update N       adapt after every N steps (default 16; 1 for Naive Bayes\n"
    "                       alone)\n"
    "      --window-scope   reset adaptive state at each window (needs hop = window;\n"
    "                       with --adapt none: the counts of --naive-bayes)\n"
    "\n"
    "Resources:\n"
    "      --device D       cpu; cuda: all NVIDIA GPUs; cuda:0 or cuda:0,2: some of\n"
    "                       them; auto (default): cuda, or cpu without a GPU. The\n"
    "                       output is the same. GPUZIP_DEVICE in the environment\n"
    "                       sets the default\n"
    "      --list-devices   list devices and the results of their self-tests\n"
    "  -T, --threads #      processor threads; 0 (default): one a core\n"
    "  -M, --memory N       limit of the process's memory; 0: none; K, M, G\n"
    "\n"
    "Output:\n"
    "  -q, --quiet          no warnings and progress; -qq: no errors either\n"
    "  -v, --verbose        a line a file\n"
    "      --stats          statistics of experts and coder; measuring each expert\n"
    "                       alone takes time\n"
    "      --json           statistics, or the list, as one JSON object a file\n"
    "  -h, --help           the common options\n"
    "  -H, --long-help      all options\n"
    "  -V, --version        the version; with -q its number alone\n"
    "The signal USR1 makes gpuzip print its progress.\n"
    "\n"
    "Where the bits went:\n"
    "  gpuzip explain FILE [-o REPORT.html] [OPTION]...\n"
    "                       write FILE.html: the text coloured by the cost of each token,\n"
    "                       with curves and figures. Takes the options of compression.\n"
    "                       A .gpz file brings its own settings and needs its models\n"
    "\n"
    "Models:\n"
    "  gpuzip model import SOURCE -o X.gpzm [--weight-bits 8|15] [--activation-bits 8|15]\n"
    "                       [--kv-bits 8|12] [--tokenizer PATH] [--name NAME] [-f]\n"
    "                       convert a checkpoint to a model file, which opens faster\n"
    "  gpuzip model learn TEXT... -o X.gpzm [--model MODEL] [--size MIB] [-f]\n"
    "                       add n-grams of TEXTs, 16 MiB by default, to MODEL (default: the\n"
    "                       built-in one); X.gpzm compresses similar text better\n"
    "  gpuzip model export [MODEL] -o X.gpzm [-f]\n"
    "                       write a model (default: the built-in one) to a file, for the\n"
    "                       time when gpuzip holds another\n"
    "  gpuzip model info [MODEL] [--json]\n"
    "                       print facts about a model (default: the built-in one)\n"
    "\n"
    "Exit code: 0 success; 2 a file was skipped, with a warning; 1 an error; 3 a model is\n"
    "missing or differs from the one that compressed the file; 4 the device failed its\n"
    "self-test. With several files, the last of these in this order.\n";

void help_print_short(void)
{
    fputs(usage, stdout);
    fputs(common_options, stdout);
}

void help_print_long(void)
{
    fputs(usage, stdout);
    fputs(all_options, stdout);
}

void help_print_version(bool bare)
{
    if (bare)
        puts(gpuzip_version());
    else
        printf("gpuzip %s\nbackends: %s\n", gpuzip_version(), gpuzip_backends());
}
