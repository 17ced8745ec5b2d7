// SPDX-License-Identifier: MIT
//
// Vectors of a type that may be moved by realloc(), as many C++ libraries have their own: each
// grows by half when it is full, among ordinary std::vectors, which copy. Some are dropped and
// begin again. Each is checked at the end. Prints a checksum, then "done", and waits for a line.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

template <typename T> class Growing
{
    static_assert(std::is_trivially_copyable<T>::value, "moved by realloc()");

  public:
    Growing() = default;
    Growing(const Growing &) = delete;
    Growing &operator=(const Growing &) = delete;
    Growing(Growing &&other) noexcept
        : items(std::exchange(other.items, nullptr)), used(std::exchange(other.used, 0)),
          room(std::exchange(other.room, 0))
    {
    }
    Growing &operator=(Growing &&other) noexcept
    {
        std::swap(items, other.items);
        std::swap(used, other.used);
        std::swap(room, other.room);
        return *this;
    }
    ~Growing()
    {
        std::free(items);
    }

    void push_back(const T &item)
    {
        if (used == room) {
            std::size_t more = room ? room + room / 2 : 64;
            void *grown = std::realloc(items, more * sizeof(T));
            if (!grown)
                throw std::bad_alloc();
            items = static_cast<T *>(grown);
            room = more;
        }
        items[used++] = item;
    }
    std::size_t size() const
    {
        return used;
    }
    const T &operator[](std::size_t i) const
    {
        return items[i];
    }

  private:
    T *items = nullptr;
    std::size_t used = 0;
    std::size_t room = 0;
};

struct Point {
    std::uint64_t owner;
    std::uint64_t at;
};

int main()
{
    std::mt19937_64 random(20); // NOLINT: the same in every run
    std::vector<Growing<Point>> points(300);
    std::vector<std::vector<std::uint64_t>> ordinary(50);
    std::uint64_t sum = 0;

    for (int step = 0; step < 4000; step++) {
        std::size_t which = random() % points.size();
        Growing<Point> &grown = points[which];
        if (step % 100 == 99)
            grown = Growing<Point>();
        for (std::size_t n = random() % 4000; n > 0; n--)
            grown.push_back({which, grown.size()});
        std::vector<std::uint64_t> &other = ordinary[which % ordinary.size()];
        for (std::size_t n = random() % 500; n > 0; n--)
            other.push_back(other.size() * which);
    }
    for (std::size_t which = 0; which < points.size(); which++) {
        for (std::size_t i = 0; i < points[which].size(); i++) {
            if (points[which][i].owner != which || points[which][i].at != i) {
                std::printf("vector %zu: element %zu is wrong\n", which, i);
                return 1;
            }
        }
        sum = sum * 3 + points[which].size();
    }
    for (const std::vector<std::uint64_t> &other : ordinary)
        for (std::uint64_t element : other)
            sum = sum * 3 + element;
    std::printf("checksum=%llu\ndone\n", static_cast<unsigned long long>(sum));
    std::fflush(stdout);
    std::getchar();
    return 0;
}
