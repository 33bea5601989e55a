// A folder that is dropped becomes one archive without compression: pictures are compressed already.
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(data: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of data) sum = TABLE[(sum ^ byte) & 255]! ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

// Little-endian fields: [bytes, value] each.
function packed(fields: [number, number][]): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  let at = 0;
  for (const [size, value] of fields)
    for (let i = 0; i < size; i++) made[at++] = Math.floor(value / 2 ** (8 * i)) & 255;
  return made;
}

export interface Entry {
  path: string;
  file: File;
}

// The ZIP format without ZIP64: up to 65,535 files and 4 GB, which the server bounds too.
export async function zipped(entries: Entry[]): Promise<Blob> {
  if (entries.length > 65_000) throw new Error("a folder of more than 65,000 files is too large: zip it");
  const parts: BlobPart[] = [];
  const ends: Uint8Array<ArrayBuffer>[] = [];
  let at = 0;
  for (const { path, file } of entries) {
    const data = new Uint8Array(await file.arrayBuffer());
    const name = new TextEncoder().encode(path);
    const common: [number, number][] = [
      [2, 20], [2, 0x0800], [2, 0], [2, 0], [2, 0x21], [4, crc(data)], [4, data.length], [4, data.length],
      [2, name.length], [2, 0],
    ];
    const head = packed([[4, 0x04034b50], ...common]);
    parts.push(head, name, data);
    ends.push(
      packed([[4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]),
      name as Uint8Array<ArrayBuffer>,
    );
    at += head.length + name.length + data.length;
  }
  const size = ends.reduce((sum, part) => sum + part.length, 0);
  const count = entries.length;
  const end = packed([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, at], [2, 0]]);
  return new Blob([...parts, ...ends, end], { type: "application/zip" });
}

// All files below what was dropped.
export async function entriesOf(items: DataTransferItemList): Promise<{ name: string; entries: Entry[] }> {
  const roots = [...items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const entries: Entry[] = [];
  const walk = async (entry: FileSystemEntry, path: string): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail));
      entries.push({ path: path + entry.name, file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const one of some) await walk(one, `${path}${entry.name}/`);
    }
  };
  for (const root of roots) await walk(root, "");
  return { name: roots[0]?.name ?? "images", entries };
}
