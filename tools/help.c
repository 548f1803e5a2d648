/* help.c: see help.h. */
#include "help.h"

#include "gpuzip.h"

#include <stdio.h>

static const char usage[] = "Usage: gpuzip [OPTION]... [FILE]...\n"
                            "Compress FILE to FILE.gpz with a language model, or back. With no "
                            "FILE, or\nwith -, read standard input and write standard "
                            "output.\n\n";

void help_print_short(void)
{
    fputs(usage, stdout);
    fputs("  -1 .. -9     fast .. small; -6 is the default\n"
          "  -d           decompress       -t  test FILE.gpz        -l  list what is in it\n"
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
          "       gpuzip explain FILE [-o REPORT.html]\n",
          stdout);
}

void help_print_long(void)
{
    fputs(usage, stdout);
    fputs("What to do:\n"
          "  -z, --compress       compress; the default\n"
          "  -d, --decompress     decompress; several .gpz files in one decode as one\n"
          "  -t, --test           decode and discard\n"
          "  -l, --list           list what .gpz files say of themselves; -lv says more\n"
          "  -b, --benchmark      measure FILE in memory at every level given\n"
          "  -i#                  measure each direction for at least # seconds (default 3)\n"
          "\n"
          "Files:\n"
          "  -k, --keep           keep FILE; the default\n"
          "      --rm             remove FILE when the result is safely on the disk\n"
          "  -c, --stdout         write to standard output\n"
          "  -o, --output FILE    write to FILE; - is standard output\n"
          "  -f, --force          overwrite; follow links; read FIFOs and devices; compress\n"
          "                       .gpz files again; decompress X that lacks .gpz to X.out\n"
          "  -r, --recursive      work on all files in the folders given\n"
          "\n"
          "How to compress (when nothing is said the level decides):\n"
          "  -1 .. -9             fast .. small; -6 is the default\n"
          "      --window N       tokens that a window of context predicts\n"
          "      --hop N          tokens from a window to the next; the model reads the rest\n"
          "                       of a window again\n"
          "      --streams N      sequences coded at once; more are faster, fewer smaller\n"
          "      --block-size N   bytes that are coded and can be decoded alone; K, M\n"
          "      --no-verify      do not decode every block again to make sure of it\n"
          "\n"
          "Experts (their product, weighted by alpha, predicts):\n"
          "      --model M        add a language model: a .gpzm file, a Hugging Face folder, a\n"
          "                       llama2.c or llm.c .bin, or a name such as\n"
          "                       openai-community/gpt2 in the Hugging Face cache. May be\n"
          "                       repeated. Default: the built-in one. Decompressing needs\n"
          "                       the same.\n"
          "      --naive-bayes    add counts of the file's own tokens\n"
          "      --alpha learn    the experts' weights begin as 1 in equal parts, and 0.1 for\n"
          "                       --naive-bayes, and are learnt from the file; the default\n"
          "                       for one model\n"
          "      --alpha A,...    they are these, 0 to 15.99: the models' in the order given,\n"
          "                       then --naive-bayes's. Not learnt, unless --adapt has alphas\n"
          "      --alpha learn:A,...    the same, and learnt; up to 2\n"
          "      --alpha fit      they begin as what suits the first MiB best, which takes time\n"
          "                       before, and are learnt; the default for several models.\n"
          "                       --adapt without alphas keeps them\n"
          "      --adapt LIST     what learns from the file itself: contexts, biases, alphas,\n"
          "                       with commas between; all, the default; none\n"
          "      --update N       learn every N steps (default 16; 1 with counts alone)\n"
          "      --window-scope   let what learns begin anew in every window (needs hop =\n"
          "                       window; with --adapt none for counts alone)\n"
          "\n"
          "Resources:\n"
          "      --device D       what to compute on; the result is the same: cpu; cuda, all\n"
          "                       NVIDIA GPUs; cuda:0 or cuda:0,2, these; auto, the default:\n"
          "                       cuda or else cpu. GPUZIP_DEVICE in the environment sets D\n"
          "      --list-devices   what there is, and whether it passes the self-test\n"
          "  -T, --threads #      processor threads; 0, the default: one a core\n"
          "  -M, --memory N       limit of memory besides the models', 0: none; K, M, G\n"
          "\n"
          "What to print:\n"
          "  -q, --quiet          no warnings and progress; -qq: no errors either\n"
          "  -v, --verbose        a line a file\n"
          "      --stats          what the experts and the coder did; measuring what each\n"
          "                       expert alone would pay takes time\n"
          "      --json           the same, or the list, as one JSON object a file\n"
          "  -h, --help           the most needed options\n"
          "  -H, --long-help      this\n"
          "  -V, --version        the version\n"
          "\n"
          "Where the bits went:\n"
          "  gpuzip explain FILE [-o REPORT.html] [OPTION]...\n"
          "                       writes FILE.html: the text coloured by what each token cost,\n"
          "                       curves and figures. OPTIONs are those of compressing; of a .gpz\n"
          "                       file its own settings count, and its models are needed\n"
          "\n"
          "Models:\n"
          "  gpuzip model import SOURCE -o X.gpzm [--weight-bits 8|15] [--activation-bits 8|15]\n"
          "                       [--kv-bits 8|12] [--tokenizer PATH] [--name NAME] [-f]\n"
          "                       converts a checkpoint to a model file, which opens faster\n"
          "  gpuzip model info [MODEL] [--json]\n"
          "                       prints all about a model; the built-in one if none is named\n"
          "\n"
          "Exit code: 0 all went well; 2 something was skipped, with a warning; 1 something\n"
          "failed; 3 a model is missing or is not the one that compressed the file; 4 this\n"
          "device's arithmetic failed its self-test. Of several the last in this order.\n",
          stdout);
}

void help_print_version(void)
{
    printf("gpuzip %s\nbackends: %s\n", gpuzip_version(), gpuzip_backends());
}
