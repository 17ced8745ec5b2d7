# SPDX-License-Identifier: MIT
#
# IO::Buffer#resize of mapped buffers, growing and shrinking in random order. Ruby calls mremap()
# for it. Each buffer is checked at the end. Prints how large they are, then "done", and waits for a
# line.

PAGE = IO::Buffer::PAGE_SIZE

# What belongs there: each page says whose it is, and which.
def piece(number, start, size)
  pages = (start...start + size).step(PAGE)
  pages.map { |at| format("%07d %07d\n", number, at) * (PAGE / 16) }.join
end

random = Random.new(20)
buffers = Array.new(200) do |i|
  buffer = IO::Buffer.new(16 * PAGE, IO::Buffer::MAPPED)
  buffer.set_string(piece(i, 0, 16 * PAGE))
  buffer
end
1500.times do
  i = random.rand(buffers.size)
  size = buffers[i].size
  resized = random.rand(4...64) * PAGE
  buffers[i].resize(resized)
  buffers[i].set_string(piece(i, size, resized - size), size) if resized > size
end
buffers.each_with_index do |buffer, i|
  abort "buffer #{i} holds something else" unless buffer.get_string == piece(i, 0, buffer.size).b
end
puts "#{buffers.size} buffers, #{buffers.sum(&:size)} bytes", 'done'
$stdout.flush
$stdin.gets
