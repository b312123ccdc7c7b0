#include "data/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// One field of a message: https://protobuf.dev/programming-guides/encoding
struct Field {
  uint64_t number = 0;
  enum Kind { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 } kind = varint;
  uint64_t value = 0;        // of a varint or fixed number
  std::string_view content;  // of bytes: text or a message
};

class Message {
 public:
  Message(std::string_view rest, const std::string& source) : rest_(rest), source_(source) {}

  /// Reads the next field; false at the end.
  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    if (key > UINT32_MAX) broken();  // protobuf would look at its low half only
    field = {key >> 3, static_cast<Field::Kind>(key & 7), 0, {}};
    switch (field.kind) {
      case Field::varint:
        field.value = varint();
        return true;
      case Field::fixed64:
        field.value = fixed(8);
        return true;
      case Field::fixed32:
        field.value = fixed(4);
        return true;
      case Field::bytes:
        field.content = taken(varint());
        return true;
    }
    broken();
  }

 private:
  [[noreturn]] void broken() const { fail("tokenizer", source_, " is not a SentencePiece model, or a damaged one"); }

  std::string_view taken(uint64_t count) {
    if (count > rest_.size()) broken();
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  uint64_t fixed(size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, taken(count).data(), count);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(taken(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    broken();
  }

  std::string_view rest_;
  const std::string& source_;
};

class ModelChecker {
 public:
  explicit ModelChecker(const std::string& source) : source_(source) {}
  void check_model(std::string_view bytes);

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, "tokenizer", source_, ": ", parts...);
  }
  void check_kind(const Field& field, Field::Kind kind) const {
    check(field.kind == kind, "not a SentencePiece model: a field of the wrong kind");
  }
  /// Fields that come twice are merged by protobuf: what was checked would not be what is used.
  void check_once(bool& seen) const {
    check(!seen, "not a SentencePiece model: a part that comes twice");
    seen = true;
  }
  void check_piece(std::string_view bytes, int64_t number) const;
  void check_trainer(std::string_view bytes) const;
  void check_normalizer(std::string_view bytes) const;
  void check_rules(std::string_view rules) const;
  void check_replacement(std::string_view texts, size_t at) const;

  const std::string& source_;
};

void ModelChecker::check_model(std::string_view bytes) {
  constexpr int64_t kMostPieces = 1 << 20;
  Message model(bytes, source_);
  bool trainer = false, normalizer = false;
  int64_t pieces = 0;
  for (Field field; model.next(field);) {
    if (field.number < 1 || field.number > 5) continue;
    check_kind(field, Field::bytes);
    switch (field.number) {
      case 1:
        check_piece(field.content, pieces++);
        break;
      case 2:
        check_once(trainer);
        check_trainer(field.content);
        break;
      case 3:
        check_once(normalizer);
        check_normalizer(field.content);
        break;
      default:
        check(field.content.empty(), "expected no self-test and no denormalizer, which are not read here");
    }
  }
  check(pieces <= kMostPieces, pieces, " pieces, expected at most ", kMostPieces);
  check(pieces > 0 && trainer && normalizer, "not a SentencePiece model: expected pieces, trainer and normalizer, got ",
        pieces, " pieces", trainer ? ", a trainer" : "", normalizer ? ", a normalizer" : "");
}

void ModelChecker::check_piece(std::string_view bytes, int64_t number) const {
  // Pieces of one text that are prefixes of each other are collected in buffers of fixed size: 1024, or 64 for those
  // that a user defined.
  constexpr uint64_t kUserDefined = 4, kLastType = 6;
  constexpr size_t kLongest = 512, kLongestUserDefined = 64;
  Message piece(bytes, source_);
  std::string_view text;
  uint64_t type = 1;
  for (Field field; piece.next(field);) {
    if (field.number == 1) {
      check_kind(field, Field::bytes);
      text = field.content;
      check(!text.empty() && text.size() <= kLongest && !invalid_utf8(text) && text.find('\0') == text.npos, "piece ",
            number, " \"", excerpt(text), "\": expected 1 to ", kLongest, " bytes of UTF-8 without NUL");
    } else if (field.number == 2) {
      check_kind(field, Field::fixed32);
      check(std::isfinite(std::bit_cast<float>(static_cast<uint32_t>(field.value))), "piece ", number,
            ": expected a finite score");
    } else if (field.number == 3) {
      check_kind(field, Field::varint);
      type = field.value;
      check(type >= 1 && type <= kLastType, "piece ", number, ": expected a type in 1 to ", kLastType, ", got ", type);
    }
  }
  check(!text.empty(), "piece ", number, " has no text");
  check(type != kUserDefined || text.size() <= kLongestUserDefined, "piece ", number, ": user-defined, of ",
        text.size(), " bytes, expected at most ", kLongestUserDefined);
}

void ModelChecker::check_trainer(std::string_view bytes) const {
  constexpr uint64_t kModelType = 3, kUnigram = 1, kBpe = 2;
  Message trainer(bytes, source_);
  for (Field field; trainer.next(field);) {
    if (field.number != kModelType) continue;
    check_kind(field, Field::varint);
    check(field.value == kUnigram || field.value == kBpe, "expected a unigram or BPE model (type ", kUnigram, " or ",
          kBpe, "), got type ", field.value);
  }
}

void ModelChecker::check_normalizer(std::string_view bytes) const {
  constexpr uint64_t kRules = 2;
  Message normalizer(bytes, source_);
  bool seen = false;
  for (Field field; normalizer.next(field);) {
    if (field.number != kRules) continue;
    check_kind(field, Field::bytes);
    check_once(seen);
    if (!field.content.empty()) check_rules(field.content);
  }
}

/// Rules are a trie (its bytes as u32, then a double array of u32 units) and the texts to put in place, each ended by
/// NUL. Units as darts-clone packs them: label in bits 0-7 (bit 31: a value instead), bit 8: a text ends here, bits 9
/// and 10-30: offset. A step from unit p by byte c goes to p ^ offset ^ c, if that unit's label is c; the value of a
/// text that ends at unit p is at p ^ offset. The library follows these without a look at the size, and collects the
/// prefixes it finds in a buffer of 32: so the trie is traversed here level by level, 32 at most.
void ModelChecker::check_rules(std::string_view rules) const {
  constexpr size_t kMostBytes = size_t{1} << 20, kDeepest = 32;
  check(rules.size() <= kMostBytes, "normalizer of ", rules.size(), " bytes, expected at most ", kMostBytes);
  uint32_t trie_bytes = 0;
  check(rules.size() > sizeof trie_bytes, "normalizer cut off");
  std::memcpy(&trie_bytes, rules.data(), sizeof trie_bytes);
  rules.remove_prefix(sizeof trie_bytes);
  check(trie_bytes > 0 && trie_bytes % 4 == 0 && trie_bytes < rules.size(), "normalizer with a trie of ", trie_bytes,
        " bytes, ", rules.size(), " are there");
  std::vector<uint32_t> units(trie_bytes / 4);
  std::memcpy(units.data(), rules.data(), trie_bytes);
  const std::string_view texts = rules.substr(trie_bytes);
  check(texts.ends_with('\0'), "normalizer whose last text is cut off");

  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); };
  std::vector<uint32_t> level{offset(units[0])}, below;  // p ^ offset of the units reached
  for (size_t depth = 0; !level.empty(); ++depth, level.swap(below)) {
    check(depth <= kDeepest, "normalizer with a rule for more than ", kDeepest, " bytes");
    below.clear();
    for (const uint32_t base : level) {
      check((base | 0xFFu) < units.size(), "normalizer whose trie leads out of its ", units.size(), " units");
      for (uint32_t c = 1; c < 256; ++c) {  // captions have no NUL
        const uint32_t unit = units[base ^ c], next = base ^ c ^ offset(unit);
        if ((unit & 0x800000FFu) != c) continue;
        below.push_back(next);
        if ((unit & 0x100u) == 0) continue;
        check(next < units.size(), "normalizer whose trie leads out of its ", units.size(), " units");
        check_replacement(texts, units[next] & 0x7FFFFFFFu);
      }
    }
    std::ranges::sort(below);
    below.erase(std::unique(below.begin(), below.end()), below.end());
  }
}

void ModelChecker::check_replacement(std::string_view texts, size_t at) const {
  constexpr size_t kLongest = 256;
  check(at < texts.size(), "normalizer with a text at byte ", at, " of ", texts.size());
  const std::string_view text = texts.substr(at, texts.find('\0', at) - at);
  check(text.size() <= kLongest && !invalid_utf8(text), "normalizer with a text of ", text.size(),
        " bytes, expected at most ", kLongest, " of UTF-8");
}

}  // namespace

void check_sentencepiece_model(std::string_view bytes, const std::string& source) {
  ModelChecker(source).check_model(bytes);
}

}  // namespace sked
