#include "golden_events.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/unknown_field_set.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <set>

namespace trunkline::golden {
namespace {

namespace pb = google::protobuf;

const std::filesystem::path kRoot = TRUNKLINE_GOLDEN;
const std::string kMake =
    "make it with:\n  cmake --build build --target golden_make && build/tests/golden_make "
    "tests/architecture/golden\nand commit the new files; those that exist are never changed";

// Bytes of a field that the contract has lost would end up here.
bool has_unknown_fields(const pb::Message& message) {
  const pb::Reflection& reflection = *message.GetReflection();
  if (!reflection.GetUnknownFields(message).empty()) return true;
  std::vector<const pb::FieldDescriptor*> set;
  reflection.ListFields(message, &set);
  for (const pb::FieldDescriptor* field : set) {
    if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int elements = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int n = 0; n < elements; ++n) {
      if (has_unknown_fields(field->is_repeated()
                                 ? reflection.GetRepeatedMessage(message, field, n)
                                 : reflection.GetMessage(message, field))) {
        return true;
      }
    }
  }
  return false;
}

TEST(GoldenEvents, EveryTypeHasAFileThatSetsEveryField) {
  for (const EventType& type : all_event_types()) {
    const std::string name = type.aggregate + "/" + type.name();
    EXPECT_FALSE(files_of(type, kRoot).empty()) << name << " has no golden file; " << kMake;
    EXPECT_THAT(fields_never_set(type, kRoot), testing::IsEmpty())
        << "no golden file of " << name << " sets these; " << kMake;
  }
}

TEST(GoldenEvents, OldBytesSayWhatTheySaid) {
  size_t files = 0;
  for (const EventType& type : all_event_types()) {
    for (const std::filesystem::path& file : files_of(type, kRoot)) {
      ++files;
      const auto decoded = type.new_event();
      ASSERT_TRUE(decoded->ParseFromString(read_file(file.string() + ".bin"))) << file;
      const auto expected = type.new_event();
      ASSERT_TRUE(pb::TextFormat::ParseFromString(read_file(file.string() + ".textproto"),
                                                  expected.get()))
          << file << ": the text names a field that the contract does not have any more";
      pb::util::MessageDifferencer differencer;
      std::string difference;
      differencer.ReportDifferencesToString(&difference);
      EXPECT_TRUE(differencer.Compare(*expected, *decoded)) << file << "\n" << difference;
      EXPECT_FALSE(has_unknown_fields(*decoded)) << file << ": a field was removed or renumbered";
      EXPECT_EQ(decoded->GetReflection()->GetOneofFieldDescriptor(
                    *decoded, decoded->GetDescriptor()->FindOneofByName("body")),
                type.member)
          << file;
    }
  }
  EXPECT_GE(files, all_event_types().size());
}

// A type that was taken out of the contract would leave its files behind, unread.
TEST(GoldenEvents, EveryFileBelongsToAType) {
  std::set<std::string> known;
  for (const EventType& type : all_event_types()) {
    for (const std::filesystem::path& file : files_of(type, kRoot)) {
      known.insert(file.string() + ".bin");
      known.insert(file.string() + ".textproto");
    }
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kRoot)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_TRUE(known.contains(entry.path().string())) << entry;
  }
}

TEST(GoldenEvents, AFieldThatNoFileSetsIsNoticed) {
  const auto types = all_event_types();
  const auto nowhere = fields_never_set(types.front(), "/nonexistent");
  EXPECT_THAT(nowhere, testing::Contains("size.cpu"));
}

TEST(GoldenEvents, FilledLeavesNoFieldOut) {
  for (const EventType& type : all_event_types()) {
    const auto event = filled(type);
    const pb::Message& body = event->GetReflection()->GetMessage(*event, type.member);
    std::vector<const pb::FieldDescriptor*> set;
    body.GetReflection()->ListFields(body, &set);
    EXPECT_EQ(static_cast<int>(set.size()), type.member->message_type()->field_count())
        << type.name();
  }
}

}  // namespace
}  // namespace trunkline::golden
