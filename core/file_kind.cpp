#include "core/file_kind.h"

#include <algorithm>
#include <array>

#include "core/text.h"

namespace sked {
namespace {

constexpr const char *kFromTorch =
                         "(in Python: safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), OUT); of a "
                         "training's checkpoint its state_dict)",
                     *kFromNumpy = "(in Python: safetensors.numpy.save_file(dict(numpy.load(FILE)), OUT))";

constexpr std::string_view kZip = "PK\x03\x04";

struct Mark {
  std::string_view bytes;
  std::string_view kind;
};
constexpr std::array kMarks{
    Mark{"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (in Python: safetensors.numpy.save_file of its arrays)"},
    Mark{"\x93NUMPY", "one array of NumPy (in Python: safetensors.numpy.save_file({\"name\": numpy.load(FILE)}, OUT))"},
    Mark{"GGUF", "a GGUF file, as llama.cpp reads"},
    Mark{"\x1f\x8b\x08", "a gzip file (gunzip it first)"},
    Mark{"\xfd"
         "7zXZ",
         "an xz file (unxz it first)"},
    Mark{"\x28\xb5\x2f\xfd", "a Zstandard file (unzstd it first)"},
    Mark{"\xff\xd8\xff", "a JPEG image"},
    Mark{"\x89PNG", "a PNG image"},
    Mark{"GIF8", "a GIF image"},
    Mark{"RIFF", "a WebP image, or sound"},
    Mark{"%PDF", "a PDF document"},
    Mark{"\x7f"
         "ELF",
         "a program"},
    Mark{"version https://git-lfs", "what Git keeps in place of a large file (git lfs pull fetches the file)"},
};

/// The name of a zip archive's first member: PKWARE's APPNOTE 4.3.7 has its length at byte 26 and the name at 30.
std::string_view first_member(std::string_view zip) {
  constexpr size_t kLength = 26, kName = 30;
  if (zip.size() < kName) return {};
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(zip[i])); };
  return zip.substr(kName, byte(kLength) | byte(kLength + 1) << 8);
}

/// Without the characters that no text has.
bool is_text(std::string_view begin) {
  const auto printed = [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\r' || c == '\t';
  };
  const size_t invalid = invalid_utf8(begin).value_or(begin.size());
  return !begin.empty() && std::ranges::all_of(begin, printed) && invalid + 4 > begin.size();  // the last may be cut
}

}  // namespace

bool is_npz(std::string_view begin) { return begin.starts_with(kZip) && first_member(begin).ends_with(".npy"); }

std::string file_kind(std::string_view begin) {
  constexpr size_t kTar = 257;  // where tar's mark stands
  if (begin.starts_with(kZip)) {
    const std::string_view member = first_member(begin);
    if (is_npz(begin)) return std::string("a NumPy .npz archive ") + kFromNumpy;
    if (member.find('/') != std::string_view::npos) return std::string("a file of torch.save ") + kFromTorch;
    return "a zip archive";
  }
  // Protocols 2 to 5 of pickle, in which versions of torch.save before 1.6 begin their files.
  if (begin.size() > 1 && begin[0] == '\x80' && begin[1] >= 2 && begin[1] <= 5)
    return std::string("a pickle of Python, as of an older torch.save ") + kFromTorch;
  // A header of few bytes begins with one that may be any letter, and zeros.
  const bool text = begin.substr(0, 8).find('\0') == std::string_view::npos;
  if (text && begin.starts_with('<')) return "a page of HTML or XML";
  if (text && begin.starts_with('{')) return kJsonFile;
  if (begin.size() > 10 && begin.substr(5, 3) == std::string_view("\0\0\0", 3) && begin.substr(8, 2) == "{\"")
    return kSafetensors;
  const auto* mark = std::ranges::find_if(kMarks, [&](const Mark& m) { return begin.starts_with(m.bytes); });
  if (mark != kMarks.end()) return std::string(mark->kind);
  if (begin.size() > kTar && begin.substr(kTar).starts_with("ustar")) return "a tar archive";
  return is_text(begin) ? kTextFile : "";
}

}  // namespace sked
