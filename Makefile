# Skedastic. `make help` lists the targets; `make info` prints what was found on this machine.
#
#   build/<name>            one program per folder apps/<name>/
#   build/tests/<level>     one doctest binary per folder tests/<level>/ (tests/checks.mk)
#   build/libskedastic.*    what lies below the programs, as a library
#   build/obj/              objects and header dependencies; build/stamps/ remembers flags and link lines
#
# Sources are discovered. An optional library is a set of files, not an #ifdef: <stem>*.cpp is compiled with it,
# <stem>_none.cpp without it; its switch is found by itself. CUDA=host: GPU kernels as C++ on the CPU, for tests.

$(if $(filter 3.%,$(MAKE_VERSION)),$(error make $(MAKE_VERSION): expected GNU make 4 (macOS: brew install make; gmake)))
SHELL := bash
.DELETE_ON_ERROR:
.SUFFIXES:

BUILD ?= build
CXX ?= g++
ARCH ?= native
OPT ?= -O3
JOBS ?= $(shell nproc)
DATA_ROOT ?= $(or $(SKEDASTIC_DATA),datasets)
DATASETS ?= fashion-mnist
PREFIX ?= /usr/local
VERSION := 0.1
Q := $(if $(V),,@)
comma := ,

# ---- goals that need no compiler: they come first on a bare machine, and start a second make once packages are there
PLAIN_GOALS := deps demo contrast-demo study test asan ubsan sanitize tsan races storm mutations fuzz bench gpu-check \
               gpu-rehearsal data lint format vendor vendor-cudnn uninstall clean help
BUILDING := $(filter-out $(PLAIN_GOALS) info,$(or $(MAKECMDGOALS),all))
PROBING := $(filter-out $(PLAIN_GOALS),$(or $(MAKECMDGOALS),all))
# `make -j4 demo` hands its job slots down; a plain `make demo` uses every core.
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

# ---- switches: a misspelt value must not quietly build something else ---------------------------------------------
SWITCHES := ONEDNN ZLIB LIBZIP CUDA CUDNN NCCL IMAGES SENTENCEPIECE MPI WERROR
allowed = 0 1 $(if $(filter CUDA,$(1)),host)
$(foreach s,$(SWITCHES),$(if $(filter-out $(call allowed,$(s)),$($(s))),\
  $(error $(s)=$($(s)): expected $(if $(filter CUDA,$(s)),0$(comma) 1 or host,0 or 1))))
$(foreach v,BUILD $(if $(BUILDING),CXX),$(if $(strip $($(v))),,$(error $(v) is empty)))
$(if $(strip $(word 2,$(BUILD))$(filter -%,$(BUILD))$(wildcard $(BUILD)/README.md)\
  $(foreach c,% : ' " * ? ; & = ~ < > |,$(findstring $(c),$(BUILD)))),\
  $(error BUILD=$(BUILD): expected a folder of builds, named with letters, digits, /, . and _))

# ---- what is on this machine --------------------------------------------------------------------------------------
INCLUDES := -I. $(if $(wildcard .deps/include),-isystem .deps/include)
PROBE = CXX="$(CXX)" CPPFLAGS="$(CPPFLAGS) $(INCLUDES)"
FOUND := $(if $(PROBING),$(shell $(PROBE) .make/probe.sh))
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc)))
ifneq ($(PROBING),)
  NVCC ?= $(wildcard $(CUDA_HOME)/bin/nvcc)
  DRIVER := $(or $(wildcard /dev/nvidia0),$(shell command -v nvidia-smi))
  $(foreach s,ONEDNN ZLIB LIBZIP SENTENCEPIECE,$(eval $(s) ?= $(if $(filter $(s),$(FOUND)),1,0)))
  CUDA ?= $(if $(and $(NVCC),$(DRIVER),$(wildcard cuda/*.cu)),1,0)
  # cuDNN's headers lie under CUDNN_HOME, with the toolkit or the system; NVIDIA's header-only cudnn-frontend with the
  # system or in .deps/include.
  CUDNN_HEADER := $(firstword $(wildcard $(addsuffix /include/cudnn.h,$(CUDNN_HOME) $(CUDA_HOME))) \
                  $(if $(filter CUDNN,$(FOUND)),cudnn.h))
  CUDNN ?= $(if $(and $(filter 1,$(CUDA)),$(CUDNN_HEADER),$(filter CUDNN_FRONTEND,$(FOUND))),1,0)
  # NCCL's header likewise, under NCCL_HOME.
  NCCL_HEADER := $(firstword $(wildcard $(addsuffix /include/nccl.h,$(NCCL_HOME) $(CUDA_HOME))) \
                 $(if $(filter NCCL,$(FOUND)),nccl.h))
  NCCL ?= $(if $(and $(filter 1,$(CUDA)),$(NCCL_HEADER)),1,0)
  IMAGES ?= $(if $(filter-out $(FOUND),JPEG PNG WEBP TIFF),0,1)
  # MPI's own compiler tells where it lies; its header must be one that ours takes.
  MPICC ?= $(shell command -v mpicc)
  MPI_SHOWN := $(if $(filter-out 0,$(or $(MPI),1)),$(if $(MPICC),$(shell $(MPICC) -show)))
  MPI_CFLAGS := $(patsubst -I%,-isystem %,$(filter -I% -D%,$(MPI_SHOWN)))
  MPI_LIBS ?= $(filter -L% -l% -Wl%,$(MPI_SHOWN))
  MPI ?= $(if $(MPICC),$(shell echo '\#include <mpi.h>' | $(CXX) $(CPPFLAGS) $(MPI_CFLAGS) -E -x c++ - >/dev/null 2>&1 &&\
           echo 1 || echo 0),0)
endif

# ---- sources ------------------------------------------------------------------------------------------------------
# $(call unused,SWITCH,STEM): the files of an optional library that this build leaves out
unused = $(if $(filter 1,$($(1))),$(2)_none.cpp,$(filter-out $(2)_none.cpp,$(wildcard $(2)*.cpp)))
UNUSED := $(call unused,ONEDNN,core/cpu/onednn) $(call unused,ZLIB,core/gzip) $(call unused,IMAGES,data/codec) \
          $(call unused,CUDNN,cuda/cudnn) $(call unused,NCCL,cuda/nccl) \
          $(call unused,SENTENCEPIECE,data/sentencepiece) \
          $(call unused,MPI,core/mpi) $(call unused,IMAGES,apps/bench/bare) $(call unused,LIBZIP,core/npz)
# $(call sources,FOLDER): the files of a level and of its folders, in a fixed order
sources = $(filter-out $(UNUSED),$(sort $(wildcard $(1)/*.cpp $(1)/*/*.cpp $(1)/*.cu)))
objects = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(filter %.cpp,$(1))) $(filter %.cu,$(1)))

# GCC reads the standard library's headers compiled, with optimization or without, whichever the file wants. It forgets
# that their warnings are not ours, which the builds with sanitizers still have; those also show that every file includes
# what it uses. ccache could not share what is made so.
STD := $(BUILD)/obj/prelude/std.h
PRELUDE := $(if $(subst <g++>,,<$(CXX)$(findstring sanitize,$(OPT))>),,$(addprefix $(STD).gch/,optimized plain))

CORE := $(call objects,$(call sources,core) $(if $(PRELUDE),.make/prelude.cpp))
AUTOGRAD := $(call objects,$(call sources,autograd))
DATA := $(call objects,$(call sources,data))
LAYERS := $(call objects,$(call sources,layers))
GPU := $(if $(filter 1 host,$(CUDA)),$(call objects,$(call sources,cuda)))
# CUDA=host: the same kernels as C++ (tests/cuda/host/cuda_runtime.h), cuBLASLt and some of cuDNN in plain loops.
ifeq ($(CUDA),host)
  GPU := $(filter-out $(addprefix %/cuda/,cublaslt.o cudnn.o cudnn_none.o nccl.o),$(GPU)) \
         $(call objects,$(sort $(wildcard tests/cuda/host/*.cpp)))
endif
LIBRARY := $(CORE) $(AUTOGRAD) $(DATA) $(LAYERS) $(GPU)
COMMON := $(call objects,$(call sources,apps/common))

APPS := $(filter-out common configs,$(patsubst apps/%/main.cpp,%,$(sort $(wildcard apps/*/main.cpp))))
PROGRAMS := $(addprefix $(BUILD)/,$(APPS))
# One case per kernel, for tests/core and tests/cuda; the benchmark takes the families it times.
CASES := $(call objects,$(sort $(wildcard tests/kernels/*.cpp)) $(patsubst %,tests/common/%.cpp,closeness hash_weights))
UNTIMED := $(addprefix %/kernels/,$(addsuffix .o,families index l2_normalize likelihood memory optimizer pool reduce))
app_objects = $(call objects,$(call sources,apps/$(1))) $(if $(filter bench,$(1)),$(filter-out $(UNTIMED),$(CASES)))
APP_PARTS := $(filter-out %/main.o,$(foreach a,$(APPS),$(call app_objects,$(a))))

# ---- flags --------------------------------------------------------------------------------------------------------
# A warning is an error in CI and where WERROR=1 says so: a newer compiler's must not keep anybody from building.
WERROR ?= $(if $(CI),1,0)
# The code is held to GCC's warnings, but for those of its own std::string header (bug 105651); what it takes for
# uninitialized depends on what it inlines, and so on the processor.
# No -ffast-math: nan, inf and the order of sums matter here; given up are errno and floating-point traps alone.
# Where the compiler takes them: full-width vectors on AVX-512 (GELU and softmax gain a third), and a cure for GCC 12,
# which with AVX-512 turns the constants {1, 1, 0, 0} of four int64 into {1, 1, 1, 1} at -O2 and -O3.
takes = $(shell $(CXX) $(1) -E -x c++ /dev/null >/dev/null 2>&1 && echo '$(1)')
VECTORS := $(foreach f,-mprefer-vector-width=512 -mtune-ctrl=^inter_unit_moves_to_vec,$(call takes,$(f)))
WARNINGS := $(if $(filter CLANG,$(FOUND)),-w,-Wall -Wextra -Wno-restrict $(if $(filter 1,$(WERROR)),-Werror) \
              -Wno-error=maybe-uninitialized)
# The objects serve the programs and both libraries; names of ours are not meant to be replaced by others at run time.
PIC := -fPIC -fno-semantic-interposition
OPTIMIZE = $(OPT)
COMPILE = $(CXX) -std=c++20 $(OPTIMIZE) $(if $(ARCH),-march=$(ARCH)) $(VECTORS) $(PIC) \
          -fno-math-errno -fno-trapping-math -fopenmp $(WARNINGS) $(INCLUDES) $(CPPFLAGS) $(CXXFLAGS)
LINK = $(CXX) $(OPT) -fopenmp $(CXXFLAGS) $(LDFLAGS)
# sm_80, sm_90, and PTX of the latter for what comes after
GENCODE ?= $(foreach a,80 90,-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_90,code=compute_90
NVCC_COMPILE = $(NVCC) -ccbin $(lastword $(CXX)) -std=c++20 $(if $(filter -O1 -O0,$(OPT)),-O1,-O3) $(GENCODE) \
               --expt-relaxed-constexpr $(if $(filter 1,$(WERROR)),-Werror all-warnings) \
               -Xcompiler -Wall,-Wextra,-fopenmp,-fPIC $(INCLUDES) $(CPPFLAGS) $(NVCCFLAGS)
LIBS = $(if $(filter 1,$(ONEDNN)),-ldnnl) $(if $(filter 1,$(LIBZIP)),-lzip) $(if $(filter 1,$(ZLIB)),-lz) \
       $(if $(filter 1,$(MPI)),$(MPI_LIBS)) -pthread
IMAGES_LIBS ?= $(if $(filter 1,$(IMAGES)),-ljpeg -lpng -lwebpdemux -lwebp -ltiff)
SENTENCEPIECE_LIBS ?= $(if $(filter 1,$(SENTENCEPIECE)),-lsentencepiece -lsentencepiece_train)
# The static runtime looks for the driver when it is asked, so that programs start where there is none; cuDNN and
# NCCL are opened when they are first asked for, and nothing is linked to them.
RPATH = -Wl$(comma)-rpath$(comma)
CUDA_LIBS ?= $(addprefix $(RPATH),$(addsuffix /lib,$(CUDNN_HOME) $(NCCL_HOME)) $(CUDA_HOME)/lib64) \
             -L$(CUDA_HOME)/lib64 -lcublasLt -lcudart_static -ldl -lrt
NVIDIA_HOMES := $(CUDNN_HOME) $(NCCL_HOME) $(CUDA_HOME)
CUDA_INCLUDES := $(if $(filter 1,$(CUDA)),$(addprefix -isystem ,$(addsuffix /include,$(NVIDIA_HOMES))))
ifeq ($(CUDA),host)
  CUDA_INCLUDES := -Itests/cuda/host
  CUDA_LIBS :=
  # Kernels report every access to memory, for tests/cuda/host/watch.cpp to look at.
  WATCH := $(if $(findstring sanitize,$(OPT)),,-fsanitize=thread -g1)
  NVCC_COMPILE = $(COMPILE) $(WATCH) $(CUDA_INCLUDES) -Wno-unknown-pragmas -x c++
endif
LIBRARY_LIBS = $(LIBS) $(IMAGES_LIBS) $(SENTENCEPIECE_LIBS) $(if $(GPU),$(CUDA_LIBS))
APP_LIBS = $(LIBRARY_LIBS)

# ---- rules --------------------------------------------------------------------------------------------------------
.PHONY: all programs tests fuzzers lib install $(PLAIN_GOALS) info check
all programs: $(PROGRAMS)

ifneq ($(BUILDING),)
  ifeq ($(filter CXX20,$(FOUND)),$(filter-out $(FOUND),COMPILER))
    $(error $(CXX) is no compiler of C++20: expected GCC 11 or Clang 16, or newer, as in `make CXX=g++-12`)
  endif
  LACKING := $(if $(filter COMPILER,$(FOUND)),$(filter-out $(FOUND),JSON CLI DOCTEST),COMPILER)
  NAMES := COMPILER=$(CXX) JSON=nlohmann/json.hpp CLI=CLI/CLI.hpp DOCTEST=doctest/doctest.h
  ifneq ($(LACKING),)
    $(error not found: $(foreach l,$(LACKING),$(patsubst $(l)=%,%,$(filter $(l)=%,$(NAMES)))); \
      `make deps` installs what is missing (or put the headers under .deps/include))
  endif

# $(call remember,FILE,TEXT): FILE holds TEXT and gets a new date only when TEXT changes, so that what depends on it is
# made again
remember = $(if $(subst <$(strip $(file <$(1)))>,,<$(strip $(2))>),$\
             $(shell mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2))))
STAMPS := $(BUILD)/stamps
$(call remember,$(STAMPS)/compile,$(COMPILE))
$(if $(GPU),$(call remember,$(STAMPS)/nvcc,$(NVCC_COMPILE)))
# -O3 is for loops over elements, pixels and characters. What calls them is compiled for a short build, autograd and
# layers with the fused multiply-adds of -O3, programs (and cuda/cudnn.o, which only describes) without, tests as they
# are, but for references, which are loops over many numbers.
GLUE_OPT = $(patsubst -O3,-O1 -fexpensive-optimizations,$(OPT))
COLD_OPT = $(patsubst -O3,-O1,$(OPT:-O1=-O0))
TEST_OPT = $(patsubst -O3,-O0,$(OPT:-O1=-O0))
$(addprefix $(BUILD)/obj/tests/,kernels/%.o common/%.o): TEST_OPT = $(patsubst -O3,-O1,$(OPT))
GLUE := autograd/%.o layers/%.o core/json.o core/kernels/%.o core/safetensors.o \
        $(patsubst %,data/%.o,caption% catalog collections dataset embedding_files image_collection image_folder \
          image_paths label_table loader parts relabeled shard%)
$(addprefix $(BUILD)/obj/,$(GLUE)): private OPTIMIZE = $(GLUE_OPT)
$(addprefix $(BUILD)/obj/,apps/%.o cuda/cudnn.o): private OPTIMIZE = $(COLD_OPT)
$(BUILD)/obj/tests/%.o: private OPTIMIZE = $(TEST_OPT)
# What says that a program is for another processor runs on any.
$(BUILD)/obj/apps/common/config/instructions.o: private override ARCH :=
# The same bytes on every machine: no fused multiply-adds in the arithmetic of pixels.
$(BUILD)/obj/data/image_%.o: EXTRA = -ffp-contract=off
$(BUILD)/obj/core/mpi.o: EXTRA = $(MPI_CFLAGS)
$(BUILD)/obj/cuda/%.o $(BUILD)/obj/tests/cuda/host/%.o: EXTRA = $(CUDA_INCLUDES)
$(BUILD)/obj/tests/cuda/host/%.o: private OPTIMIZE = $(patsubst -O1,-O2,$(OPT))
# Large files of tests are compiled a sixth faster where GCC looks for what it may forget from 1 GB on (128 MB).
WITH_PRELUDE := -include $(STD) -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread \
                --param=ggc-min-heapsize=1000000
$(STD).gch/plain: private OPTIMIZE = -O0
$(STD): .make/prelude.h
	@mkdir -p $(@D) && cp $< $@
$(STD).gch/optimized $(STD).gch/plain: $(STD) $(STAMPS)/compile
	@mkdir -p $(@D); echo "  compile $< ($(@F))"
	$(Q)$(COMPILE) -x c++-header $< -o $@
$(BUILD)/obj/%.o: %.cpp $(STAMPS)/compile $(PRELUDE)
	@mkdir -p $(@D); echo "  compile $<"
	$(Q)$(COMPILE) $(if $(PRELUDE),$(WITH_PRELUDE)) $(EXTRA) -MMD -MP -c $< -o $@
# Their headers are NVIDIA's or the emulated GPU's.
$(filter $(BUILD)/obj/cuda/%,$(GPU)): $(STAMPS)/nvcc
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
$(foreach a,$(APPS),$(eval $(call program,$(BUILD)/$(a),$(call app_objects,$(a)) $(COMMON) $(LIBRARY),$(APP_LIBS))))
endif

# ---- the library --------------------------------------------------------------------------------------------------
# Kernels register themselves before main, and a linker takes of an archive only what is asked for by name: so the
# archive has one object, and who asks for anything gets them all.
SONAME := libskedastic.so.$(VERSION)
lib: $(BUILD)/libskedastic.a $(BUILD)/libskedastic.so
$(BUILD)/libskedastic.a: $(LIBRARY)
	@mkdir -p $(@D); echo "  link    $@"
	$(Q)$(CXX) -r -nostdlib $^ -o $(BUILD)/obj/skedastic.o && rm -f $@ && $(AR) rcs $@ $(BUILD)/obj/skedastic.o
$(BUILD)/libskedastic.so: $(LIBRARY)
	@mkdir -p $(@D); echo "  link    $@"
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) $^ -o $@ $(LIBRARY_LIBS)
install: lib programs
	@VERSION=$(VERSION) LIBRARY_LIBS="$(strip $(LIBRARY_LIBS))" SONAME=$(SONAME) \
	  .make/install.sh "$(BUILD)" "$(PREFIX)" "$(DESTDIR)" $(APPS)
uninstall: ; @.make/uninstall.sh "$(PREFIX)" "$(DESTDIR)"

# ---- the two commands of a newcomer, and their kin ----------------------------------------------------------------
PREPARE = data/prepare.sh --root "$(DATA_ROOT)" $(if $(MIRROR),--mirror "$(MIRROR)")
REPLICATE = SKEDASTIC_DATA="$(DATA_ROOT)" $(BUILD)/replicate
demo: deps
	$(SUBMAKE) $(BUILD)/train $(BUILD)/evaluate $(BUILD)/replicate
	@$(PREPARE) fashion-mnist
	$(REPLICATE) --config apps/configs/demo.json --out runs/demo
contrast-demo: deps
	$(SUBMAKE) $(BUILD)/contrast $(BUILD)/replicate
	@$(PREPARE) fashion-mnist
	$(REPLICATE) --config apps/configs/contrast-demo.json --out runs/contrast-demo
study: deps
	$(SUBMAKE) $(addprefix $(BUILD)/,train evaluate contrast replicate)
	@BUILD="$(BUILD)" JOBS="$(JOBS)" DATA_ROOT="$(DATA_ROOT)" MIRROR="$(MIRROR)" SIZE="$(SIZE)" DEVICE="$(DEVICE)" \
	  STUDY="$(STUDY)" .make/study.sh
test: deps ; $(SUBMAKE) check
data: ; @$(PREPARE) $(DATASETS)

include tests/checks.mk
-include $(if $(BUILDING),$(patsubst %.o,%.d,$(sort $(OBJECTS) $(LIBRARY))))

# ---- packages and housekeeping ------------------------------------------------------------------------------------
deps:
	@$(PROBE) DATA_ROOT="$(DATA_ROOT)" $(foreach s,$(SWITCHES),$(s)=$($(s))) .make/deps.sh
vendor vendor-cudnn:
	@$(PROBE) .make/vendor.sh $(filter cudnn,$(subst -, ,$@))
info:
	@$(PROBE) FOUND="$(FOUND)" COMPILE="$(strip $(COMPILE))" LINK="$(strip $(LINK) ... $(LIBS))" NVCC="$(NVCC)" \
	  DRIVER="$(DRIVER)" CUDNN_HEADER="$(CUDNN_HEADER)" NCCL_HEADER="$(NCCL_HEADER)" MPICC="$(MPICC)" \
	  $(foreach s,$(filter-out WERROR,$(SWITCHES)),$(s)=$($(s))) .make/info.sh
help: ; @cat .make/help.txt
clean:
	@[ ! -e $(BUILD) ] || [ -d $(BUILD)/stamps ] || { echo "error: $(BUILD) is no folder of builds" >&2; exit 1; }
	rm -rf $(BUILD)
