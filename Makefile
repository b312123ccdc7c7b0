# Skedastic. `make help` lists the targets; `make info` prints what was found on this machine.
#
#   build/<name>         one program per folder apps/<name>/
#   build/tests/<floor>  one doctest binary per folder tests/<floor>/
#   build/obj/           objects and header dependencies; build/stamps/ remembers flags and link lines
#
# Sources are discovered. An optional library is a set of files, not an #ifdef: <stem>*.cpp is compiled with it, <stem>_none.cpp
# (where there is one) without it. Variables: BUILD CXX CXXFLAGS CPPFLAGS LDFLAGS OPT ARCH V=1 JOBS SUITES DATA_ROOT MIRROR DATASETS WERROR and
# the switches ONEDNN ZLIB CUDA CUDNN IMAGES SENTENCEPIECE MPI (0 or 1, found by themselves when not given; CUDA=host: GPU
# kernels as C++ on the CPU, for tests).

SHELL := bash
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

BUILD ?= build
CXX ?= g++
ARCH ?= native
OPT ?= -O3
JOBS ?= $(shell nproc)
DATA_ROOT ?= $(or $(SKEDASTIC_DATA),datasets)
DATASETS ?= fashion-mnist
Q := $(if $(V),,@)

# ---- goals that need no compiler: they come first on a bare machine, and start a second make once the packages are there -----------------
PLAIN_GOALS := deps demo contrast-demo test asan ubsan sanitize tsan storm mutations fuzz bench gpu-check gpu-rehearsal data lint format vendor vendor-cudnn clean help
BUILDING := $(filter-out $(PLAIN_GOALS) info,$(or $(MAKECMDGOALS),all))
PROBING := $(filter-out $(PLAIN_GOALS),$(or $(MAKECMDGOALS),all))
# `make -j4 demo` hands its job slots down; a plain `make demo` uses every core.
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

# ---- switches ---------------------------------------------------------------------------------------------------------------------------
# A misspelt value must not quietly build something else.
comma := ,
SWITCHES := ONEDNN ZLIB CUDA CUDNN IMAGES SENTENCEPIECE MPI WERROR
$(foreach s,$(SWITCHES),$(if $(filter-out 0 1 $(if $(filter CUDA,$(s)),host),$($(s))),$(error $(s)=$($(s)): expected $(if $(filter CUDA,$(s)),0$(comma) 1 or host,0 or 1))))

# ---- what is on this machine ----------------------------------------------------------------------------------------------------------
INCLUDES := -I. $(if $(wildcard .deps/include),-isystem .deps/include)
# One run of the preprocessor answers with the words of what it finds.
has = \#if __has_include(<$(2)>)\n$(1)\n\#endif\n
PROBE_TEXT := COMPILER\n$(call has,JSON,nlohmann/json.hpp)$(call has,CLI,CLI/CLI.hpp)$(call has,DOCTEST,doctest/doctest.h)
PROBE_TEXT := $(PROBE_TEXT)$(call has,ONEDNN,oneapi/dnnl/dnnl.h)$(call has,ONEDNN,dnnl.h)$(call has,ZLIB,zlib.h)
PROBE_TEXT := $(PROBE_TEXT)$(call has,JPEG,jpeglib.h)$(call has,PNG,png.h)$(call has,WEBP,webp/demux.h)$(call has,TIFF,tiffio.h)$(call has,SENTENCEPIECE,sentencepiece_trainer.h)$(call has,CUDNN_FRONTEND,cudnn_frontend.h)$(call has,CUDNN,cudnn_version.h)
PROBE = printf '$(PROBE_TEXT)' | $(CXX) $(CPPFLAGS) $(INCLUDES) -std=c++20 -E -P -x c++ - 2>/dev/null
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc)))
ifneq ($(PROBING),)
  FOUND := $(shell $(PROBE))
  NVCC ?= $(wildcard $(CUDA_HOME)/bin/nvcc)
  DRIVER := $(or $(wildcard /dev/nvidia0),$(shell command -v nvidia-smi))
  ONEDNN ?= $(if $(filter ONEDNN,$(FOUND)),1,0)
  ZLIB ?= $(if $(filter ZLIB,$(FOUND)),1,0)
  CUDA ?= $(if $(and $(NVCC),$(DRIVER),$(wildcard cuda/*.cu)),1,0)
  # cuDNN's headers lie under CUDNN_HOME, with the toolkit or the system; NVIDIA's header-only cudnn-frontend with the system or in .deps/include.
  CUDNN_HEADER := $(firstword $(wildcard $(addsuffix /include/cudnn.h,$(CUDNN_HOME) $(CUDA_HOME))) $(if $(filter CUDNN,$(FOUND)),cudnn.h))
  CUDNN ?= $(if $(and $(filter 1,$(CUDA)),$(CUDNN_HEADER),$(filter CUDNN_FRONTEND,$(FOUND))),1,0)
  IMAGES ?= $(if $(filter-out $(FOUND),JPEG PNG WEBP TIFF),0,1)
  SENTENCEPIECE ?= $(if $(filter SENTENCEPIECE,$(FOUND)),1,0)
  MPICXX ?= $(shell command -v mpicxx)
  MPI ?= $(if $(MPICXX),1,0)
endif

# ---- sources ----------------------------------------------------------------------------------------------------------------------------
# $(call unused,SWITCH,STEM): the files of an optional library that this build leaves out
unused = $(if $(filter 1,$(1)),$(2)_none.cpp,$(filter-out $(2)_none.cpp,$(wildcard $(2)*.cpp)))
UNUSED := $(call unused,$(ONEDNN),core/cpu/onednn) $(call unused,$(ZLIB),core/gzip) $(call unused,$(IMAGES),data/codec) \
          $(call unused,$(CUDNN),cuda/cudnn) $(call unused,$(SENTENCEPIECE),data/sentencepiece) $(call unused,$(MPI),apps/common/run/mpi) $(call unused,$(IMAGES),apps/bench/bare)
# $(call sources,FOLDER): .cpp files of a floor and of its folders, in a fixed order
sources = $(filter-out $(UNUSED),$(sort $(wildcard $(1)/*.cpp $(1)/*/*.cpp)))
objects = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(filter %.cpp,$(1)))) $(patsubst %,$(BUILD)/obj/%.o,$(filter %.cu,$(1)))

CORE := $(call objects,$(call sources,core))
AUTOGRAD := $(call objects,$(call sources,autograd))
DATA := $(call objects,$(call sources,data))
LAYERS := $(call objects,$(call sources,layers))
GPU := $(if $(filter 1 host,$(CUDA)),$(call objects,$(filter-out $(UNUSED),$(sort $(wildcard cuda/*.cpp cuda/*.cu)))))
# CUDA=host, for tests: the same kernels as C++ on the CPU (tests/cuda/host/cuda_runtime.h), cuBLASLt and some of cuDNN in plain loops.
ifeq ($(CUDA),host)
  GPU := $(filter-out %/cuda/cublaslt.o %/cuda/cudnn.o %/cuda/cudnn_none.o,$(GPU)) $(call objects,$(sort $(wildcard tests/cuda/host/*.cpp)))
endif
COMMON := $(call objects,$(filter-out $(UNUSED),$(sort $(wildcard apps/common/*/*.cpp))))
LIBRARY := $(CORE) $(AUTOGRAD) $(DATA) $(LAYERS) $(GPU) $(COMMON)

APPS := $(filter-out common configs,$(patsubst apps/%/main.cpp,%,$(sort $(wildcard apps/*/main.cpp))))
PROGRAMS := $(addprefix $(BUILD)/,$(APPS))
# One case per kernel, for tests/core, tests/cuda and the benchmark.
CASES := $(call objects,$(sort $(wildcard tests/kernels/*.cpp)) tests/common/closeness.cpp tests/common/hash_weights.cpp)
app_objects = $(call objects,$(filter-out $(UNUSED),$(sort $(wildcard apps/$(1)/*.cpp)))) $(if $(filter bench,$(1)),$(CASES))
APP_PARTS := $(filter-out %/main.o,$(foreach a,$(APPS),$(call app_objects,$(a))))

# A test binary sees its own floor and those below, so that a missing piece shows at link time.
TEST_LIB_core := $(CORE) $(CASES)
TEST_LIB_deliberate := $(CORE)
TEST_LIB_autograd := $(CORE) $(AUTOGRAD)
TEST_LIB_data := $(CORE) $(DATA)
TEST_LIB_layers := $(CORE) $(AUTOGRAD) $(LAYERS) $(GPU)
TEST_LIB_cuda := $(CORE) $(GPU) $(CASES)
TEST_LIB_apps := $(LIBRARY) $(APP_PARTS)
# The storms also call the mains of the programs that read files.
MAINS := $(patsubst %,$(BUILD)/obj/tests/storm/main_%.o,train evaluate predict contrast replicate)
TEST_LIB_storm := $(call objects,tests/apps/support.cpp) $(MAINS) $(LIBRARY) $(APP_PARTS)
TEST_MAIN := $(call objects,$(wildcard tests/main.cpp) $(sort $(wildcard tests/common/*.cpp)))
ALL_SUITES := core autograd data layers $(if $(GPU),cuda) apps storm deliberate
SUITES ?= $(ALL_SUITES)
PRESENT := $(strip $(foreach s,$(filter $(ALL_SUITES),$(SUITES)),$(if $(wildcard tests/$(s)/*.cpp),$(s))))
TESTS := $(addprefix $(BUILD)/tests/,$(PRESENT))

# One fuzz target per file of tests/fuzz, with the parsers it may call.
FUZZ ?= $(basename $(notdir $(wildcard tests/fuzz/*.cpp)))

# ---- flags ------------------------------------------------------------------------------------------------------------------------------
# A warning is an error in CI and where WERROR=1 says so: a newer compiler's new warnings must not keep anybody from building.
WERROR ?= $(if $(CI),1,0)
# -Wno-restrict: GCC 12 warns of its own std::string header (GCC bug 105651).
# No -ffast-math: nan, inf and the order of sums matter here. What is given up is errno and floating-point traps, which nobody reads.
# Where the compiler takes them: full-width vectors on AVX-512 (GELU and softmax gain a third), and a cure for GCC 12, which with AVX-512
# turns the constants {1, 1, 0, 0} of four int64 into {1, 1, 1, 1} at -O2 and -O3.
VECTORS := $(foreach flag,-mprefer-vector-width=512 -mtune-ctrl=^inter_unit_moves_to_vec,$(shell $(CXX) $(flag) -E -x c++ /dev/null >/dev/null 2>&1 && echo '$(flag)'))
COMPILE = $(CXX) -std=c++20 $(if $(COLD),$(COLD_OPT),$(OPT)) $(if $(ARCH),-march=$(ARCH)) $(VECTORS) -fno-math-errno -fno-trapping-math -fopenmp -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) -Wno-restrict \
          $(INCLUDES) $(CPPFLAGS) $(CXXFLAGS)
LINK = $(CXX) $(OPT) -fopenmp $(CXXFLAGS) $(LDFLAGS)
LIBS = $(if $(filter 1,$(ONEDNN)),-ldnnl) $(if $(filter 1,$(ZLIB)),-lz) -pthread
# sm_80, sm_90, and PTX of the latter for what comes after
GENCODE ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90
NVCC_COMPILE = $(NVCC) -ccbin $(lastword $(CXX)) -std=c++20 $(if $(filter -O1 -O0,$(OPT)),-O1,-O3) $(GENCODE) \
               --expt-relaxed-constexpr $(if $(filter 1,$(WERROR)),-Werror all-warnings) -Xcompiler -Wall,-Wextra,-fopenmp $(INCLUDES) $(CPPFLAGS) $(NVCCFLAGS)
# The static runtime looks for the driver when it is asked, so that programs start where there is none.
# cuDNN is opened when it is first asked for; nothing is linked to it.
CUDA_LIBS ?= $(if $(CUDNN_HOME),-Wl$(comma)-rpath$(comma)$(CUDNN_HOME)/lib) -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart_static -ldl -lrt
ifeq ($(CUDA),1)
  CUDA_INCLUDES := $(if $(CUDNN_HOME),-isystem $(CUDNN_HOME)/include) -isystem $(CUDA_HOME)/include
endif
IMAGES_LIBS ?= $(if $(filter 1,$(IMAGES)),-ljpeg -lpng -lwebpdemux -lwebp -ltiff)
SENTENCEPIECE_LIBS ?= $(if $(filter 1,$(SENTENCEPIECE)),-lsentencepiece -lsentencepiece_train)
ifneq ($(and $(filter 1,$(MPI)),$(wildcard apps/common/run/mpi*.cpp)),)
  MPI_CFLAGS := $(patsubst -I%,-isystem %,$(filter -I% -D%,$(shell $(MPICXX) -show)))
  MPI_LIBS := $(filter -L% -l% -Wl%,$(shell $(MPICXX) -show))
endif

# ---- rules ------------------------------------------------------------------------------------------------------------------------------
.PHONY: all programs tests fuzzers $(PLAIN_GOALS) info check
all: programs
programs: $(PROGRAMS)
tests: $(TESTS)
fuzzers: $(addprefix $(BUILD)/fuzz/,$(FUZZ))

ifneq ($(BUILDING),)
  LACKING := $(if $(filter COMPILER,$(FOUND)),$(filter-out $(FOUND),JSON CLI DOCTEST),COMPILER)
  ifneq ($(LACKING),)
    NAME_COMPILER := $(CXX)
    NAME_JSON := nlohmann/json.hpp
    NAME_CLI := CLI/CLI.hpp
    NAME_DOCTEST := doctest/doctest.h
    $(error not found: $(foreach l,$(LACKING),$(NAME_$(l))); `make deps` installs what is missing (or put the headers under .deps/include))
  endif

# $(call remember,FILE,TEXT): FILE holds TEXT and gets a new date only when TEXT changes, so that what depends on it is made again
remember = $(if $(subst <$(strip $(file <$(1)))>,,<$(strip $(2))>),$(shell mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2))))
STAMPS := $(BUILD)/stamps
$(call remember,$(STAMPS)/compile,$(COMPILE))
# What runs once is compiled for a short build, under the sanitizers too.
COLD_OPT := $(patsubst -O3,-O1,$(OPT:-O1=-O0))
# (cuda/cudnn.o is half a minute of templates that only describe.)
$(BUILD)/obj/tests/%.o $(BUILD)/obj/apps/%.o $(BUILD)/obj/cuda/cudnn.o: COLD = 1

ifeq ($(CUDA),host)
  CUDA_INCLUDES := -Itests/cuda/host
  CUDA_LIBS :=
  NVCC_COMPILE = $(COMPILE) $(CUDA_INCLUDES) -Wno-unknown-pragmas -x c++
  $(BUILD)/obj/tests/cuda/host/%.o: EXTRA = $(CUDA_INCLUDES)
  $(BUILD)/obj/tests/cuda/host/%.o: COLD =
endif
$(if $(GPU),$(call remember,$(STAMPS)/nvcc,$(NVCC_COMPILE)))

# The same bytes on every machine: no fused multiply-adds in the arithmetic of pixels.
$(BUILD)/obj/data/image_%.o: EXTRA = -ffp-contract=off
$(BUILD)/obj/apps/common/run/mpi%.o: EXTRA = $(MPI_CFLAGS)
$(BUILD)/obj/cuda/%.o: EXTRA = $(CUDA_INCLUDES)
$(BUILD)/obj/%.o: %.cpp $(STAMPS)/compile
	@mkdir -p $(@D); echo "  compile $<"
	$(Q)$(COMPILE) $(EXTRA) -MMD -MP -c $< -o $@
$(BUILD)/obj/%.cu.o: %.cu $(STAMPS)/nvcc
	@mkdir -p $(@D); echo "  nvcc    $<"
	$(Q)$(NVCC_COMPILE) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

# $(call program,TARGET,OBJECTS,LIBRARIES)
define program
$(call remember,$(STAMPS)/link$(subst /,-,$(1:$(BUILD)%=%)),$(LINK) $(2) $(3))
$(1): $(2) $(STAMPS)/link$(subst /,-,$(1:$(BUILD)%=%))
	@mkdir -p $$(@D); echo "  link    $$@"
	$(Q)$(LINK) $(2) -o $$@ $(3)
OBJECTS += $(2)
endef
APP_LIBS = $(LIBS) $(IMAGES_LIBS) $(SENTENCEPIECE_LIBS) $(MPI_LIBS) $(if $(GPU),$(CUDA_LIBS))
TEST_LIBS_data = $(IMAGES_LIBS) $(SENTENCEPIECE_LIBS)
TEST_LIBS_cuda = $(CUDA_LIBS)
TEST_LIBS_layers = $(if $(GPU),$(CUDA_LIBS))
TEST_LIBS_apps = $(APP_LIBS)
TEST_LIBS_storm = $(APP_LIBS)
test_objects = $(sort $(call objects,$(wildcard tests/$(1)/*.cpp)) $(TEST_MAIN) $(TEST_LIB_$(1)))
$(foreach a,$(APPS),$(eval $(call program,$(BUILD)/$(a),$(call app_objects,$(a)) $(LIBRARY),$(APP_LIBS))))
$(foreach s,$(PRESENT),$(eval $(call program,$(BUILD)/tests/$(s),$(call test_objects,$(s)),$(LIBS) $(TEST_LIBS_$(s)))))
$(MAINS): $(BUILD)/obj/tests/storm/main_%.o: $(BUILD)/obj/apps/%/main.o
	@mkdir -p $(@D); objcopy --redefine-sym main=main_$* $< $@
# Preloaded into programs by tests/storm, and never instrumented.
FAIL_CALLS := $(BUILD)/obj/tests/storm/fail_calls.so
$(BUILD)/tests/storm: | $(FAIL_CALLS)
$(FAIL_CALLS): tests/storm/preload/fail_calls.cpp
	@mkdir -p $(@D); echo "  link    $@"
	$(Q)$(CXX) -std=c++20 -O1 -Wall -Wextra -shared -fPIC $< -o $@ -ldl
ifneq ($(filter fuzzers,$(MAKECMDGOALS)),)
  # By clang, with its instruments: what reads (JSON in fields.cpp). By GCC and without them: what only has to be there, with C++20 that clang
  # does not take before its version 16.
  READERS := $(CORE) $(DATA) $(call objects,apps/common/config/fields.cpp apps/common/run/identity.cpp apps/replicate/curve.cpp)
  BY_GCC := $(filter $(BUILD)/obj/core/cpu/%,$(CORE)) $(filter-out $(READERS),$(LIBRARY) $(APP_PARTS)) \
            $(call objects,$(foreach f,config checkpoint plan summary,tests/fuzz/$(f).cpp))
  $(foreach f,$(FUZZ),$(eval $(call program,$(BUILD)/fuzz/$(f),$(call objects,tests/fuzz/$(f).cpp) $(sort $(READERS) $(LIBRARY) $(APP_PARTS)),-fsanitize=fuzzer $(APP_LIBS))))
  $(BY_GCC): override CXX = g++
  $(BY_GCC): override OPT = -O1
  $(BY_GCC): override COLD_OPT = -O1
endif
-include $(patsubst %.o,%.d,$(sort $(OBJECTS)))
endif

# Builds the test binaries (and the programs that tests/apps runs), then runs them.
check: $(if $(filter apps storm,$(PRESENT)),$(PROGRAMS)) $(TESTS)
	@$(PREPARE) fashion-mnist || echo "tests go on without Fashion-MNIST"
	@SKEDASTIC_DATA="$(DATA_ROOT)" BUILD="$(BUILD)" tests/run.sh $(if $(filter file,$(origin SUITES)),$(PRESENT),$(SUITES))

# ---- the two commands of a newcomer, and their kin --------------------------------------------------------------------------------------
PREPARE = data/prepare.sh --root "$(DATA_ROOT)" $(if $(MIRROR),--mirror "$(MIRROR)")

demo: deps
	$(SUBMAKE) $(BUILD)/train $(BUILD)/evaluate $(BUILD)/replicate
	@$(PREPARE) fashion-mnist
	SKEDASTIC_DATA="$(DATA_ROOT)" $(BUILD)/replicate --config apps/configs/demo.json --out runs/demo

contrast-demo: deps
	$(SUBMAKE) $(BUILD)/contrast $(BUILD)/replicate
	@$(PREPARE) fashion-mnist
	SKEDASTIC_DATA="$(DATA_ROOT)" $(BUILD)/replicate --config apps/configs/contrast-demo.json --out runs/contrast-demo

test: deps
	$(SUBMAKE) check

# -g1: lines for the traces, a third less to compile. GCC's own advice: with a sanitizer -Wmaybe-uninitialized reports what is not there.
SANITIZE = -O1 -g1 -fno-omit-frame-pointer -Wno-maybe-uninitialized
asan: deps
	$(SUBMAKE) check BUILD="$(BUILD)/asan" OPT="$(SANITIZE) -fsanitize=address"
ubsan: deps
	$(SUBMAKE) check BUILD="$(BUILD)/ubsan" OPT="$(SANITIZE) -fsanitize=undefined -fno-sanitize-recover=all"
# Both at once: one build and one run instead of two.
sanitize: deps
	$(SUBMAKE) check BUILD="$(BUILD)/sanitize" OPT="$(SANITIZE) -fsanitize=address,undefined -fno-sanitize-recover=all"

# Our own threads, the loader's and what meets them in training, under ThreadSanitizer. OpenMP is off: its library is not instrumented.
tsan: deps
	$(SUBMAKE) $(BUILD)/tsan/tests/data $(BUILD)/tsan/tests/apps BUILD="$(BUILD)/tsan" OPT="-O1 -g1 -fsanitize=thread" \
	  CXXFLAGS="-fno-openmp -Wno-unknown-pragmas -Wno-unused-function" LDFLAGS=-lgomp ONEDNN=0 CUDA=0
	@BUILD="$(BUILD)/tsan" \
	  TEST_CASES="loader*,trainer: runs*,trainer: the loss*,trainer: label*,trainer: a loss*,collections: training*,collections: corrupt*" tests/run.sh data apps

# The suite's short storms, long: kills over all programs; failing calls of each program and each way to fail.
STORM_KILLS ?= 1000
STORM_CALLS ?= 1000
storm: deps
	$(SUBMAKE) programs $(BUILD)/tests/storm
	@STORM_KILLS=$(STORM_KILLS) STORM_CALLS=$(STORM_CALLS) BUILD="$(BUILD)" TEST_CASES="kills*,failing calls*" TEST_TIMEOUT=7200 tests/run.sh storm
# Damaged files of each kind, under AddressSanitizer.
STORM_MUTATIONS ?= 2000
mutations: deps
	$(SUBMAKE) programs $(BUILD)/asan/tests/storm BUILD="$(BUILD)/asan" OPT="$(SANITIZE) -fsanitize=address"
	@STORM_MUTATIONS=$(STORM_MUTATIONS) BUILD="$(BUILD)/asan" TEST_CASES="mutations*" TEST_TIMEOUT=36000 tests/run.sh storm

# libFuzzer comes with clang; its warnings are not ours, the code is held to GCC's.
CLANGXX ?= clang++
FUZZ_SECONDS ?= 60
FUZZ_FLAGS = -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=20 -print_final_stats=0 -verbosity=0
fuzz: deps
	@if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' | \
	    $(CLANGXX) -fopenmp -fsanitize=fuzzer,address -x c++ - -o /dev/null 2>/dev/null; then \
	  echo "error: no libFuzzer here: install clang, libclang-rt-dev and libomp-dev, or name a compiler by CLANGXX=" >&2; exit 1; fi
	$(SUBMAKE) fuzzers BUILD="$(BUILD)/fuzz" CXX="$(CLANGXX)" OPT="-O1 -g1 -fsanitize=address,fuzzer-no-link" CXXFLAGS=-w ONEDNN=0 FUZZ="$(FUZZ)"
	@mkdir -p $(BUILD)/fuzz/seed; printf 1 >$(BUILD)/fuzz/seed/a.cls; printf x >$(BUILD)/fuzz/seed/a.jpg
	@failed=0; for target in $(FUZZ); do \
	  corpus=$(BUILD)/fuzz/corpus/$$target; mkdir -p $$corpus; \
	  case $$target in config) seeds=$$(ls apps/configs/*det.json) ;; safetensors) seeds=tests/fixtures/formats.safetensors ;; \
	    tokenizer) seeds=tests/fixtures/tokenizer.model ;; plan) seeds=$$(ls apps/configs/demo.json apps/configs/plan-*.json) ;; *) seeds= ;; esac; \
	  if [ $$target = gzip ]; then gzip -c apps/configs/demo.json >$$corpus/demo; fi; \
	  if [ $$target = metrics ]; then printf '{"step":6,"epoch":0.5,"split":"validation","nll":2.3,"accuracy":0.1}\n' >$$corpus/line; fi; \
	  if [ $$target = summary ]; then printf '{"head":"het-xl","seed":0,"temperature":1.1,"steps":6,"test":{"nll":2.3,"accuracy":0.1,"count":10,"noisy":{"cross_entropy":1.2}}}' >$$corpus/run; fi; \
	  if [ $$target = checkpoint ]; then printf '{"model":{"name":"resnet20"}}\0{"step":6,"metrics_bytes":12,"best_nll":2.3}\0{"classes":["cat"],"train":{"count":1,"fingerprint":"0a"},"validation":{"count":0,"fingerprint":""},"test":{"count":1,"fingerprint":""}}' >$$corpus/entries; fi; \
	  if [ $$target = tar ]; then for form in ustar pax gnu; do tar -b 2 --format=$$form -C $(BUILD)/fuzz/seed -cf $$corpus/$$form a.jpg a.cls; done; fi; \
	  if [ $$target = caption_table ]; then printf '1\ta cat\n' >$$corpus/pair; fi; \
	  if [ -n "$$seeds" ]; then cp $$seeds $$corpus/; fi; \
	  if $(BUILD)/fuzz/fuzz/$$target $(FUZZ_FLAGS) -artifact_prefix=$(BUILD)/fuzz/$$target- $$corpus >$(BUILD)/fuzz/$$target.log 2>&1; \
	  then echo "fuzz $$target: nothing found in $(FUZZ_SECONDS) s, $$(ls $$corpus | wc -l) inputs kept"; \
	  else failed=1; echo "fuzz $$target: FAILED"; tail -n 40 $(BUILD)/fuzz/$$target.log; fi; done; exit $$failed

bench: deps
	$(SUBMAKE) $(BUILD)/bench
	$(BUILD)/bench

gpu-check:
	@tests/gpu_check.sh
# The same script on the emulated GPU, faults planted; built as `make sanitize CUDA=host` builds, so that CI compiles little for it.
gpu-rehearsal: deps
	$(SUBMAKE) $(BUILD)/sanitize/bench $(BUILD)/sanitize/tests/cuda CUDA=host BUILD="$(BUILD)/sanitize" \
	  OPT="$(SANITIZE) -fsanitize=address,undefined -fno-sanitize-recover=all"
	@BUILD="$(BUILD)/sanitize" TEST_CASES="gpu-check*" tests/run.sh cuda

data:
	@$(PREPARE) $(DATASETS)

# ---- packages ---------------------------------------------------------------------------------------------------------------------------
# package=word: there already when dpkg has the package or the word is found (a header by the compiler, a command, a file). Without the
# NEEDED ones nothing can be built; each of the WANTED ones costs a feature only (`make info` says which).
NEEDED := g++=COMPILER nlohmann-json3-dev=JSON libcli11-dev=CLI doctest-dev=DOCTEST
WANTED := $(if $(filter 0,$(ONEDNN)),,libdnnl-dev=ONEDNN) $(if $(filter 0,$(ZLIB)),,zlib1g-dev=ZLIB) \
          $(if $(filter 0,$(IMAGES)),,libjpeg-dev=JPEG libpng-dev=PNG libwebp-dev=WEBP libtiff-dev=TIFF) \
          $(if $(filter 0,$(SENTENCEPIECE)),,libsentencepiece-dev=SENTENCEPIECE) gnuplot-nox=gnuplot xz-utils=xz \
          curl=curl ca-certificates=/etc/ssl/certs/ca-certificates.crt \
          dataset-fashion-mnist=$(DATA_ROOT)/fashion-mnist/train-images-idx3-ubyte.gz
deps:
	@found=" $$($(PROBE) | tr '\n' ' ') "; \
	lacking() { for item; do \
	  package=$${item%%=*}; word=$${item#*=}; \
	  case "$$found" in *" $$word "*) continue ;; esac; \
	  if [ -e "$$word" ] || command -v "$$word" >/dev/null; then continue; fi; \
	  if [ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null)" != installed ]; then echo "$$package"; fi; \
	done; }; \
	needed=$$(lacking $(NEEDED) | xargs); wanted=$$(lacking $(WANTED) | xargs); \
	if [ -z "$$needed$$wanted" ]; then exit 0; fi; \
	echo "missing packages:" $$needed $$wanted; \
	apt=apt-get; if [ "$$(id -u)" != 0 ]; then apt="sudo apt-get"; fi; \
	if ! command -v apt-get >/dev/null || ! command -v $${apt%% *} >/dev/null; then \
	  if [ -n "$$needed" ]; then echo "error: no $${apt%% *} here: install the packages above (or their like) by hand" >&2; exit 1; fi; \
	  echo "no $${apt%% *} here: going on without them"; exit 0; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; case "$$apt" in sudo*) apt="sudo DEBIAN_FRONTEND=noninteractive apt-get" ;; esac; \
	install() { $$apt install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$$@" >/dev/null; }; \
	$$apt update -qq || echo "apt-get update failed: trying with the lists at hand"; \
	echo "installing them with $$apt"; if install $$needed $$wanted; then exit 0; fi; \
	if [ -n "$$needed" ]; then install $$needed || { echo "error: cannot install $$needed" >&2; exit 1; }; fi; \
	for package in $$wanted; do install $$package || echo "going on without $$package"; done

vendor:
	@mkdir -p .deps/include; \
	for header in nlohmann/json.hpp CLI/CLI.hpp doctest/doctest.h; do \
	  path=$$(printf '#include <%s>\n' $$header | $(CXX) $(CPPFLAGS) -std=c++20 -M -x c++ - 2>/dev/null | tr ' \\' '\n\n' | grep -m1 "/$$header$$"); \
	  if [ -z "$$path" ]; then echo "error: $$header not found by $(CXX)" >&2; exit 1; fi; \
	  rm -rf .deps/include/$${header%%/*}; cp -rL "$${path%/*}" .deps/include/; echo "  .deps/include/$${header%%/*} from $${path%/*}"; \
	done
	@$(MAKE) --no-print-directory vendor-cudnn

# cudnn-frontend's headers: where the compiler sees them, in Python's package, or from that package, fetched. Costs a feature only.
CUDNN_FRONTEND_VERSION ?= 1.32.0
vendor-cudnn:
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	path=$$(printf '#include <cudnn_frontend_version.h>\n' | $(CXX) $(CPPFLAGS) -M -x c++ - 2>/dev/null | tr ' \\' '\n\n' | grep -m1 '/cudnn_frontend_version.h$$'); \
	from=$${path%/*}; \
	if [ -z "$$from" ] && command -v python3 >/dev/null; then \
	  from=$$(python3 -c 'import importlib.metadata as m; print(next(f.locate().parent.resolve() for f in m.files("nvidia-cudnn-frontend") if f.name == "cudnn_frontend.h"))' 2>/dev/null); \
	  if [ -z "$$from" ] && python3 -m pip download -q --retries 1 --timeout 20 --no-deps -d "$$work" nvidia-cudnn-frontend==$(CUDNN_FRONTEND_VERSION) >/dev/null 2>&1; then \
	    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$$work"/*.whl "$$work/x" && \
	      from=$$(dirname "$$(find "$$work/x" -name cudnn_frontend.h | head -n 1)"); \
	  fi; \
	fi; \
	if [ ! -f "$$from/cudnn_frontend.h" ]; then echo "  cudnn-frontend cannot be had here: going on without it (convolutions and attention on GPUs by slower kernels)"; exit 0; fi; \
	mkdir -p .deps/include; rm -rf .deps/include/cudnn_*; cp -rL "$$from"/cudnn_frontend* "$$from/cudnn_backend_base.h" .deps/include/; \
	case "$$from" in "$$work"*) from="the Python package, fetched" ;; esac; echo "  .deps/include/cudnn_frontend from $$from"

# ---- housekeeping -----------------------------------------------------------------------------------------------------------------------
lint:
	@tests/lint.sh

format:
	@git ls-files -z -- '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 -r clang-format -i

clean:
	rm -rf $(BUILD)

# $(call feature,SWITCH,VERSION,WHAT IT COSTS)
feature = printf '  %-13s %-4s %s\n' $(1) $(if $(filter 1,$($(1))),on,off) "$(if $(filter 1,$($(1))),$(2),without it: $(3))";
version = $$(printf '\#include <$(1)>\nVERSION $(2)\n' | $(CXX) $(CPPFLAGS) $(INCLUDES) -std=c++20 -E -P -x c++ - 2>/dev/null | sed -n 's/^VERSION *//p' | tr -d ' "')
info:
	@echo "compiler   $(CXX)  $$($(CXX) --version 2>/dev/null | head -n 1)"
	@echo "compile    $(strip $(COMPILE))"
	@echo "link       $(strip $(LINK) ... $(LIBS))"
	@echo "machine    $$(nproc) cores, $$(uname -m), $$(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo)"
	@echo "needed     nlohmann/json $(call version,nlohmann/json.hpp,NLOHMANN_JSON_VERSION_MAJOR.NLOHMANN_JSON_VERSION_MINOR)" \
	  "  CLI11 $(call version,CLI/Version.hpp,CLI11_VERSION)  doctest $(call version,doctest/doctest.h,DOCTEST_VERSION_MAJOR.DOCTEST_VERSION_MINOR)"
	@echo "optional   (SWITCH=0 or 1 on the command line decides by hand)"
	@$(call feature,ONEDNN,oneDNN $(call version,oneapi/dnnl/dnnl_version.h,DNNL_VERSION_MAJOR.DNNL_VERSION_MINOR.DNNL_VERSION_PATCH),matmul and convolution run as plain loops and are many times slower)
	@$(call feature,ZLIB,zlib $(call version,zlib.h,ZLIB_VERSION),gzipped data sets (Fashion-MNIST) cannot be read)
	@$(call feature,CUDA,$(NVCC) $$($(NVCC) --version 2>/dev/null | sed -n 's/.*release //p'),everything runs on the CPU (nvcc: $(or $(NVCC),none); driver: $(or $(DRIVER),none); cuda/*.cu: $(words $(wildcard cuda/*.cu))))
	@$(call feature,CUDNN,$(CUDNN_HEADER) with cudnn-frontend $(call version,cudnn_frontend_version.h,CUDNN_FRONTEND_MAJOR_VERSION.CUDNN_FRONTEND_MINOR_VERSION.CUDNN_FRONTEND_PATCH_VERSION),on GPUs convolutions and attention run by slower kernels (cudnn.h: $(or $(CUDNN_HEADER),none); cudnn_frontend.h: $(if $(filter CUDNN_FRONTEND,$(FOUND)),found,none: make vendor-cudnn)))
	@$(call feature,IMAGES,libjpeg $(call version,jconfig.h,LIBJPEG_TURBO_VERSION) libpng $(call version,png.h,PNG_LIBPNG_VER_STRING) libwebp libtiff $(call version,tiffvers.h,TIFFLIB_VERSION),JPEG$(comma) PNG$(comma) WebP and TIFF files cannot be decoded (lacking: $(filter-out $(FOUND),JPEG PNG WEBP TIFF)))
	@$(call feature,SENTENCEPIECE,SentencePiece $(shell pkg-config --modversion sentencepiece 2>/dev/null),captions cannot be tokenized: no image-text training)
	@$(call feature,MPI,$(MPICXX),one machine only)
	@command -v gnuplot >/dev/null && gnuplot --version | sed 's/^/  gnuplot       on   /' || echo "  gnuplot       off  without it: reports have no plots"

help:
	@echo "make demo       the main job on real data: installs what is missing, builds, trains, reports (runs/demo)"
	@echo "make contrast-demo  image-text training on captioned Fashion-MNIST, DET beside HET-XL, tested zero-shot (runs/contrast-demo)"
	@echo "make test       every test; make test SUITES=\"core autograd\" some of them"
	@echo "make            the programs in $(BUILD)/ (-j as you like); make info: compiler, flags, libraries found"
	@echo "make data       data sets under $(DATA_ROOT): DATASETS=\"fashion-mnist cifar-10 tiny-imagenet-200\" MIRROR=folder DATA_ROOT=folder"
	@echo "make deps       missing packages by apt-get; make vendor: header-only libraries into .deps/include (vendor-cudnn: cudnn-frontend alone)"
	@echo "make sanitize   the tests under AddressSanitizer and UndefinedBehaviorSanitizer; make asan, make ubsan: one of them (SUITES=...)"
	@echo "make tsan       the loader and the trainer under ThreadSanitizer"
	@echo "make storm      programs that train, stopped by the thousand (STORM_KILLS STORM_CALLS STORM_SEED): nothing may be lost"
	@echo "make mutations  damaged files of every kind (STORM_MUTATIONS each), given to the programs under AddressSanitizer"
	@echo "make fuzz       every parser fed by libFuzzer for FUZZ_SECONDS (60) each: FUZZ=\"tar npy\"; needs clang"
	@echo "make bench      kernels and training steps, checked and timed"
	@echo "make gpu-check  on a machine with a GPU: builds for it, runs every device test, times, writes gpu-check.json (STAGES=...)"
	@echo "make gpu-rehearsal  the same script on the emulated GPU, with faults planted"
	@echo "make lint       floors, sizes, formatting; make format: clang-format in place; make clean"
	@echo "switches: ONEDNN ZLIB CUDA CUDNN IMAGES SENTENCEPIECE MPI WERROR = 0 or 1; CXX OPT ARCH CXXFLAGS CPPFLAGS LDFLAGS BUILD JOBS; V=1 prints commands"
