-- How a row came back that a person put back: by which verb, by which request, who asked, and why.
ALTER TABLE rows ADD COLUMN trigger TEXT NOT NULL DEFAULT 'auto';
ALTER TABLE rows ADD COLUMN job TEXT;
ALTER TABLE rows ADD COLUMN actor TEXT;
ALTER TABLE rows ADD COLUMN why TEXT;
