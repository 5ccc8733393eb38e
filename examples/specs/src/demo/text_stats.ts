const WORDS_READ_PER_MINUTE = 238;

export default (input: { text: string; top?: number }) => {
  const { text } = input;
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu) ?? [];
  const sentences = text.split(/[.!?…]+(?:\s|$)/u).filter((part) => /[\p{L}\p{N}]/u.test(part));
  const paragraphs = text.split(/\n\s*\n/).filter((part) => part.trim() !== "");

  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const mostFrequent = [...counts]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, input.top ?? 5)
    .map(([word, count]) => ({ word, count }));

  const letters = words.reduce((sum, word) => sum + [...word].length, 0);
  const round = (value: number) => Math.round(value * 100) / 100;
  return {
    characters: [...text].length,
    charactersWithoutSpaces: [...text.replace(/\s/gu, "")].length,
    bytes: new TextEncoder().encode(text).length,
    words: words.length,
    uniqueWords: counts.size,
    sentences: sentences.length,
    paragraphs: paragraphs.length,
    lines: text === "" ? 0 : text.split(/\r\n|\r|\n/).length,
    averageWordLength: words.length === 0 ? 0 : round(letters / words.length),
    averageSentenceWords: sentences.length === 0 ? 0 : round(words.length / sentences.length),
    readingMinutes: round(words.length / WORDS_READ_PER_MINUTE),
    mostFrequent,
  };
};
