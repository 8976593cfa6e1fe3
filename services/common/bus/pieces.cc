#include "bus/pieces.h"

#include <algorithm>
#include <charconv>

namespace trunkline::bus {
namespace {

constexpr char kNoProtobuf = '\x07';  // the tag of field 0, which there is not

// "<id> <number> <count>"
struct Name {
  std::string_view id;
  size_t number = 0;
  size_t count = 0;
};

bool read_number(std::string_view text, size_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<Name> read_name(std::string_view text) {
  const size_t last = text.rfind(' ');
  if (last == std::string_view::npos || last == 0) return std::nullopt;
  const size_t first = text.rfind(' ', last - 1);
  if (first == std::string_view::npos) return std::nullopt;
  Name name{text.substr(0, first)};
  const bool good = read_number(text.substr(first + 1, last - first - 1), &name.number) &&
                    read_number(text.substr(last + 1), &name.count);
  if (!good || name.count > kMostPieces || name.number >= name.count) return std::nullopt;
  return name;
}

}  // namespace

std::string piece_name(const std::string& id, size_t number, size_t count) {
  return id + ' ' + std::to_string(number) + ' ' + std::to_string(count);
}

std::string piece_data(std::string_view part) {
  std::string out;
  out.reserve(part.size() + 1);
  out += kNoProtobuf;
  out += part;
  return out;
}

void PieceStore::drop(std::list<Part>::iterator part) {
  bytes_ -= part->data.size();
  parts_.erase(part);
}

std::optional<Message> PieceStore::add(std::string_view piece, Message&& message) {
  const auto name = read_name(piece);
  if (!name || message.data.empty() || message.data.front() != kNoProtobuf) return std::nullopt;
  auto part = std::ranges::find(parts_, name->id, &Part::id);
  if (part == parts_.end()) {
    if (name->number != 0) return std::nullopt;
    part = parts_.insert(parts_.end(), {std::string(name->id), 0, name->count, {}});
  }
  if (name->number != part->next || name->count != part->count) {
    drop(part);
    return std::nullopt;
  }
  part->data.append(message.data, 1);
  bytes_ += message.data.size() - 1;
  if (++part->next == part->count) {
    message.data = std::move(part->data);
    bytes_ -= message.data.size();
    parts_.erase(part);
    return std::move(message);
  }
  // Of one that is being built, too: a sender that never ends takes no more than this.
  while (parts_.size() > kMostMessages || bytes_ > kMostBytes) drop(parts_.begin());
  return std::nullopt;
}

}  // namespace trunkline::bus
