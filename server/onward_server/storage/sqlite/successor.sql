-- Turns a copy of an exchange's database into that of a successor log: takes the log out,
-- and moves every reference to one of its entries one place up, since the successor has
-- one entry before them. The statements come back as its entries.
--
-- An index that is a key is moved by way of the negative numbers, so that no two rows
-- ever have the same.

BEGIN IMMEDIATE;

DELETE FROM cosignatures;
DELETE FROM timestamps;
DELETE FROM checkpoints;
DELETE FROM tiles;
DELETE FROM statements;

UPDATE referrals SET log_index = -1 - log_index, answer_index = answer_index + 1;
UPDATE referrals SET log_index = -log_index;

UPDATE places SET log_index = -1 - log_index;
UPDATE places SET log_index = -log_index;

UPDATE feed SET log_index = -1 - log_index;
UPDATE feed SET log_index = -log_index;

UPDATE policies SET log_index = -1 - log_index;
UPDATE policies SET log_index = -log_index;

UPDATE deliveries SET log_index = log_index + 1, order_index = order_index + 1;
UPDATE intakes SET log_index = log_index + 1;
UPDATE members SET log_index = log_index + 1;

-- -1 is none: a token that was not used.
UPDATE tokens SET log_index = log_index + 1 WHERE log_index >= 0;

COMMIT;
